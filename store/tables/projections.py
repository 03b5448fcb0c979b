"""Learned projections: files beside the tables, and a table of what each was learned from.

A projection is named by its content and is never changed. The one that holds is the newest that
was learned from the encoders of now; another encoder, on either side, leaves none.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from store.tables.lance_tables import Tables, quote

TABLE = "projections"
_COLUMNS = ("space", "modality", "encoder", "anchors", "file", "figures")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in _COLUMNS),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True)
class Learned:
    """A projection of a modality into a space.

    `file` is relative to the tables' folder, `encoder` the fingerprint of the encoder whose
    vectors it projects, `anchors` those of the towers that it was aligned by, by modality,
    `figures` how well it does.
    """

    space: str
    modality: str
    encoder: str
    anchors: Mapping[str, str]
    file: str
    figures: Mapping[str, Any]
    created_at: datetime


def new_file(tables: Tables, space: str, modality: str, fingerprint: str) -> tuple[Path, str]:
    """Where a projection is to be written, and its name as `Learned.file` has it."""
    name = f"projections/{space}-{modality}-{fingerprint}.safetensors"
    path = Path(tables.root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, name


def record(tables: Tables, learned: list[Learned]) -> None:
    """List projections whose files are there; those learned together come into force together."""
    rows = [
        {**vars(each), "anchors": _canonical(each.anchors), "figures": json.dumps(each.figures)}
        for each in learned
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    tables.replace(TABLE, SCHEMA, table.to_batches(), "false")


def current(
    tables: Tables, space: str, modality: str, encoder: str, anchors: Mapping[str, str]
) -> Learned | None:
    """The newest that was learned from these encoders, if there is one."""
    here = f"space = {quote(space)} AND modality = {quote(modality)}"
    here += f" AND encoder = {quote(encoder)} AND anchors = {quote(_canonical(anchors))}"
    found = tables.scan(TABLE, SCHEMA, where=here).sort_by("created_at").to_pylist()
    if not found:
        return None
    row = found[-1]
    parsed = {"anchors": json.loads(row["anchors"]), "figures": json.loads(row["figures"])}
    return Learned(**{**row, **parsed})


def now() -> datetime:
    return datetime.now(UTC)


def _canonical(anchors: Mapping[str, str]) -> str:
    return json.dumps(dict(anchors), sort_keys=True)
