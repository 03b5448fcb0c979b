"""A release, and the columns of its galleries, as JSON values that the server sends."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from store.search.opened import OpenRelease
from store.tables import indexes, part_weights
from store.tables.direction import Direction
from store.tables.releases import Release


def describe(release: Release) -> dict[str, Any]:
    """The release as JSON values, without the configuration of its space, which may name files."""
    described = {**vars(release), "created_at": release.created_at.isoformat()}
    described["directions"] = {name: dict(vars(d)) for name, d in release.directions.items()}
    described["indexes"] = indexes.describe(release.indexes)
    described["with_moments"] = release.with_moments
    described["part_weights"] = part_weights.describe(release.part_weights)
    del described["space_config"]
    return described


def from_description(described: Mapping[str, Any]) -> Release:
    """The release that `describe` described."""
    directions = {n: Direction(**d) for n, d in described["directions"].items()}
    created = datetime.fromisoformat(described["created_at"])
    values = {**described, "created_at": created, "directions": directions, "space_config": {}}
    values.pop("with_moments", None)  # follows from the versions
    values["indexes"] = indexes.from_description(described.get("indexes", {}))
    values["part_weights"] = part_weights.from_description(described.get("part_weights"))
    return Release(**values)


@dataclass(frozen=True)
class Column:
    """A column that a condition can name, and what its values are: lists are of texts."""

    name: str
    kind: Literal["number", "text", "flag", "list"]


def filter_columns(opened: OpenRelease) -> dict[str, list[Column]]:
    """The columns that a condition can name, by gallery."""
    galleries = {m: opened.open_gallery(m) for m in opened.release.modalities}
    return {
        modality: [Column(n, _kind(gallery.table.schema.field(n).type)) for n in names]
        for modality, gallery in galleries.items()
        if (names := gallery.filter_columns)
    }


def _kind(data_type: pa.DataType) -> Literal["number", "text", "flag", "list"]:
    if pa.types.is_list(data_type):
        return "list"
    if pa.types.is_boolean(data_type):
        return "flag"
    is_text = pa.types.is_string(data_type) or pa.types.is_large_string(data_type)
    return "text" if is_text else "number"
