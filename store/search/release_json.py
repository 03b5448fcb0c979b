"""A release as JSON values, as the server sends it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from store.tables import indexes
from store.tables.releases import Direction, Release


def describe(release: Release) -> dict[str, Any]:
    """The release as JSON values, without the configuration of its space, which may name files."""
    described = {**vars(release), "created_at": release.created_at.isoformat()}
    described["directions"] = {name: dict(vars(d)) for name, d in release.directions.items()}
    described["indexes"] = indexes.describe(release.indexes)
    del described["space_config"]
    return described


def from_description(described: Mapping[str, Any]) -> Release:
    """The release that `describe` described."""
    directions = {n: Direction(**d) for n, d in described["directions"].items()}
    created = datetime.fromisoformat(described["created_at"])
    values = {**described, "created_at": created, "directions": directions, "space_config": {}}
    values["indexes"] = indexes.from_description(described.get("indexes", {}))
    return Release(**values)
