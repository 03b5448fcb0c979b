"""Learned projections: files beside the tables, and a table of what each was learned from.

A projection file is named after its content and never changes. The current projection of a tower
is the newest that was learned from the current encoders. If one of these encoders changes, there is
no current projection until a new one is learned.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from store.tables.lance_tables import Tables, quote

TABLE = "projections"
FILES = ("projection", "bridge")  # the keys of a tower that name files
_FOLDER, _SUMS = "projections", ".sums.safetensors"
_COLUMNS = ("space", "modality", "encoder", "anchors", "file", "figures")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _COLUMNS),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True)
class LearnedProjection:
    """A projection of a modality into a space.

    Attributes:
        space: the name of the space.
        modality: of the vectors that it projects.
        encoder: the fingerprint of the encoder whose vectors it projects.
        anchors: the fingerprints of the towers that it was aligned by, by modality. A bridge has
            one anchor, the tower of its own modality in the space.
        file: the projection's file, relative to the folder of the tables.
        figures: how well the projection retrieves held-out pairs.
        created_at: when it was learned.
    """

    space: str
    modality: str
    encoder: str
    anchors: Mapping[str, str]
    file: str
    figures: Mapping[str, Any]
    created_at: datetime


def projection_file(space: str, modality: str, fingerprint: str) -> str:
    """The name of a projection's file, for `LearnedProjection.file`."""
    return f"{_FOLDER}/{space}-{modality}-{fingerprint}.safetensors"


def sums_file(projection: str) -> str:
    """The file of the sums over pairs that a projection was solved from, for its own file."""
    return f"{projection.removesuffix('.safetensors')}{_SUMS}"


def delete_sums(tables: Tables) -> None:
    """Delete the sums of all projections. Samples that were removed cannot be taken out of them."""
    paths = [file.path for file in tables.files.list(_FOLDER) if file.path.endswith(_SUMS)]
    tables.files.delete(paths)


def local_folder(tables: Tables, space_config: Mapping[str, Any]) -> str:
    """A local folder that the projection files of a space are relative to.

    Files of an object store are copied into the scratch folder, where they are kept: the names of
    projections are hashes of their content.
    """
    if tables.is_local:
        return tables.root
    for file in _files(space_config):
        if not (path := Path(tables.scratch, file)).exists():
            tables.files.download(file, path)
    return str(tables.scratch)


def _files(space_config: Mapping[str, Any]) -> Iterator[str]:
    """The files of the projections of a space, and of the bridges of its queries."""
    for key, tower in space_config.items():
        if isinstance(tower, Mapping):
            named = (tower.get(name) for name in FILES)
            yield from _files(tower) if key == "queries" else filter(None, named)


def add_projections(tables: Tables, learned: list[LearnedProjection]) -> None:
    """Add projections to the table, in one commit. Their files must exist."""
    rows = [
        {**vars(each), "anchors": _canonical(each.anchors), "figures": json.dumps(each.figures)}
        for each in learned
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    tables.replace(TABLE, SCHEMA, table.to_batches(), "false")


def current_projection(
    tables: Tables, space: str, modality: str, encoder: str, anchors: Mapping[str, str]
) -> LearnedProjection | None:
    """The newest projection that was learned from these encoders, or None."""
    where = f"space = {quote(space)} AND modality = {quote(modality)}"
    where += f" AND encoder = {quote(encoder)} AND anchors = {quote(_canonical(anchors))}"
    rows = tables.scan(TABLE, SCHEMA, where=where).sort_by("created_at").to_pylist()
    if not rows:
        return None
    row = rows[-1]
    parsed = {"anchors": json.loads(row["anchors"]), "figures": json.loads(row["figures"])}
    return LearnedProjection(**{**row, **parsed})


def utc_now() -> datetime:
    """The current time, for `LearnedProjection.created_at`."""
    return datetime.now(UTC)


def _canonical(anchors: Mapping[str, str]) -> str:
    return json.dumps(dict(anchors), sort_keys=True)
