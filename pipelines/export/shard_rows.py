"""Reads what goes into a shard, a bounded number of bytes at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from pipelines.export.shard_lists import place
from pipelines.signals.scorers.text_contacts import mask
from store.tables import schema
from store.tables.lance_tables import take

_ROWS, _BYTES = 256, 32 << 20
_CAPTIONS = ("caption", "text")  # of a sample's own metadata, as `media.read_meta` finds them
_TRANSLATED = "captions"

MEASURED = {"signals": schema.SIGNAL_TYPES, "pairs": schema.PAIR_TYPES}


@dataclass(frozen=True)
class Job:
    """What every writer of a shard has to know; picklable.

    `tables` gives uri and version of `samples`, and of the tables of signals that are exported, by
    kind. `about` is written into the schema of what has one.
    """

    folder: str
    lists: str
    tables: dict[str, tuple[str, int]]
    masked: bool
    about: dict[str, str]

    @property
    def schema(self) -> pa.Schema:
        """Samples as they are stored, then the signals that are not among their columns."""
        fields = list(schema.SAMPLES)
        for kind in self.measured:
            fields += [pa.field(n, t) for n, t in self.signals(kind).items()]
        return pa.schema(fields, metadata=self.about)

    @property
    def measured(self) -> list[str]:
        """The kinds of signals that are exported."""
        return [kind for kind in MEASURED if kind in self.tables]

    def signals(self, kind: str) -> dict[str, pa.DataType]:
        known = schema.SAMPLES.names
        return {n: t for n, t in MEASURED[kind].items() if n not in known}

    def listed(self, number: int) -> pa.Table:
        return feather.read_table(place(Path(self.lists), number))


def read(job: Job, number: int) -> Iterator[tuple[pa.Table, list[str]]]:
    """A shard's samples in order, as `job.schema` has them, and their names in an archive."""
    listed = job.listed(number)
    size = np.cumsum(listed["bytes"].to_numpy())
    start = 0
    while start < listed.num_rows:
        before = size[start - 1] if start else 0
        end = int(np.searchsorted(size, before + _BYTES, "right"))
        some = listed.slice(start, max(1, min(end - start, _ROWS)))
        yield _rows(job, some), some["name"].to_pylist()
        start += some.num_rows


def _rows(job: Job, listed: pa.Table) -> pa.Table:
    uri, version = job.tables["samples"]
    found = take(uri, version, listed["row"].to_pylist(), schema.SAMPLES.names)
    columns = {name: found[name] for name in found.schema.names}
    if job.masked:
        columns["text"] = mask(columns["text"])
        hidden = [None if m is None else _mask_meta(m) for m in columns["meta"].to_pylist()]
        columns["meta"] = pa.chunked_array([pa.array(hidden, pa.large_string())])
    for kind in job.measured:
        rows = listed[f"{kind}_row"].combine_chunks()
        there = rows.drop_null()
        names = list(job.signals(kind))
        known = take(*job.tables[kind], there.to_pylist(), names)
        count = pc.cumulative_sum(rows.is_valid().cast(pa.int64()))
        index = pc.if_else(rows.is_valid(), pc.subtract(count, 1), None)
        columns |= {name: known[name].take(index) for name in names}
    return pa.table([columns[n] for n in job.schema.names], names=job.schema.names).cast(job.schema)


def _mask_meta(text: str) -> str:
    """A sample's metadata with the addresses in its captions masked."""
    meta = json.loads(text)
    for name in _CAPTIONS:
        if isinstance(meta.get(name), str):
            meta[name] = _masked(meta[name])
    if isinstance(told := meta.get(_TRANSLATED), dict):
        meta[_TRANSLATED] = {k: _masked(v) if isinstance(v, str) else v for k, v in told.items()}
    return compact(meta)


def _masked(text: str) -> str:
    return mask(pa.array([text]))[0].as_py()


def compact(value: Any) -> str:
    """JSON in the one form that equal values have."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
