"""Reads the samples of a shard from the tables, a bounded number of bytes at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.export.shard_lists import read_shard_list
from pipelines.signals.scorers.text_contacts import mask
from store import strict_json
from store.tables import schema
from store.tables.columns import with_nulls
from store.tables.files import Files
from store.tables.table_version import TableVersion, take_rows

_ROWS, _BYTES = 256, 32 << 20
_CAPTION_KEYS = ("caption", "text")  # in a sample's metadata, as `read_meta` takes them
_TRANSLATIONS_KEY = "captions"
REPAIR_KEY = "isotrope_repair"  # in a sample's metadata: its own caption, and whose it has now

MEASURED = {"signals": schema.SIGNAL_TYPES, "pairs": schema.PAIR_TYPES}


@dataclass(frozen=True)
class ShardJob:
    """What the writers of shards need. Picklable.

    Attributes:
        target: the folder that is exported to, with the shards' lists.
        scratch: a local folder for unfinished shards.
        tables: the versions of `samples`, and of the tables of signals that are exported,
            by kind (`samples`, `signals`, `pairs`).
        masked: whether contacts in captions are masked.
        about: what is written into the metadata of the schema, where the format has one.
    """

    target: Files
    scratch: Path
    tables: dict[str, TableVersion]
    masked: bool
    about: dict[str, str]

    @property
    def schema(self) -> pa.Schema:
        """The columns of `samples`, then the signals that are not among them."""
        fields = list(schema.SAMPLES)
        for kind in self.measured:
            fields += [pa.field(n, t) for n, t in self.signals(kind).items()]
        return pa.schema(fields, metadata=self.about)

    @property
    def measured(self) -> list[str]:
        """The kinds of signals that are exported."""
        return [kind for kind in MEASURED if kind in self.tables]

    def signals(self, kind: str) -> dict[str, pa.DataType]:
        """Name and type of the signals of a kind that are not columns of `samples`."""
        columns = schema.SAMPLES.names
        return {n: t for n, t in MEASURED[kind].items() if n not in columns}

    def shard_list(self, number: int) -> pa.Table:
        """The list of a shard: one row a sample."""
        return read_shard_list(self.target, number)


def read_shard(job: ShardJob, number: int) -> Iterator[tuple[pa.Table, list[str]]]:
    """A shard's samples in order: rows with `job.schema`, and their names in an archive."""
    samples = job.shard_list(number)
    total = np.cumsum(samples["bytes"].to_numpy())
    start = 0
    while start < samples.num_rows:
        before = total[start - 1] if start else 0
        end = int(np.searchsorted(total, before + _BYTES, "right"))
        batch = samples.slice(start, max(1, min(end - start, _ROWS)))
        yield _rows(job, batch), batch["name"].to_pylist()
        start += batch.num_rows


def _rows(job: ShardJob, samples: pa.Table) -> pa.Table:
    rows = take_rows(job.tables["samples"], samples["row"].to_pylist(), schema.SAMPLES.names)
    columns = {name: rows[name] for name in rows.schema.names}
    if samples["repair_text_id"].null_count < samples.num_rows:
        columns |= _repaired(rows, samples)
    if job.masked:
        columns["text"] = mask(columns["text"])
        metas = [None if m is None else _mask_meta(m) for m in columns["meta"].to_pylist()]
        columns["meta"] = pa.chunked_array([pa.array(metas, pa.large_string())])
    for kind in job.measured:
        row_ids = samples[f"{kind}_row"].combine_chunks()
        names = list(job.signals(kind))
        stored = job.tables[kind].open()
        present = [name for name in names if name in stored.schema.names]
        signals = take_rows(stored, row_ids.drop_null().to_pylist(), present)
        signals = with_nulls(signals, job.schema, names)
        # `signals` has no rows for samples without one: number the others to spread them out.
        count = pc.cumulative_sum(row_ids.is_valid().cast(pa.int64()))
        index = pc.if_else(row_ids.is_valid(), pc.subtract(count, 1), None)
        columns |= {name: signals[name].take(index) for name in names}
    return pa.table([columns[n] for n in job.schema.names], names=job.schema.names).cast(job.schema)


def _repaired(rows: pa.Table, samples: pa.Table) -> dict[str, pa.Array]:
    """Captions with those that the policy replaced, whose originals go into the metadata."""
    metas = rows["meta"].to_pylist()
    originals, origins = rows["text"].to_pylist(), samples["repair_from"].to_pylist()
    for row, origin in enumerate(origins):
        if origin is not None:
            meta = json.loads(metas[row] or "{}")
            meta[REPAIR_KEY] = {"text": originals[row], "from": origin}
            metas[row] = strict_json.canonical_json(meta, "meta.json")
    return {
        "text_id": pc.coalesce(samples["repair_text_id"], rows["text_id"]),
        "text": pc.coalesce(samples["repair_text"].cast(pa.large_string()), rows["text"]),
        "meta": pa.array(metas, pa.large_string()),
    }


def _mask_meta(text: str) -> str:
    """A sample's metadata with the contacts in its captions masked."""
    meta = json.loads(text)
    for name in _CAPTION_KEYS:
        if isinstance(meta.get(name), str):
            meta[name] = _masked(meta[name])
    if isinstance(repair := meta.get(REPAIR_KEY), dict) and isinstance(repair.get("text"), str):
        repair["text"] = _masked(repair["text"])
    if isinstance(captions := meta.get(_TRANSLATIONS_KEY), dict):
        meta[_TRANSLATIONS_KEY] = {
            k: _masked(v) if isinstance(v, str) else v for k, v in captions.items()
        }
    return strict_json.canonical_json(meta, "meta.json")


def _masked(text: str) -> str:
    return mask(pa.array([text]))[0].as_py()
