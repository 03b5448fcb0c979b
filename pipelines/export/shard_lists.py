"""The lists that say which samples go into which shard, and under which names.

The same decisions always give the same lists. Samples are joined and sorted in scratch tables, as
there may be more than fit into memory. Each shard's list is a file, so that the worker that writes
a shard reads that list only.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from pipelines.engine.open_scratch import scratch_tables
from pipelines.export.target_folder import STATE
from store import identity
from store.config.engine import Engine
from store.tables.files import Files
from store.tables.lance_tables import Tables
from store.tables.names import kind_of
from store.tables.signals import REPAIR_TYPES
from store.tables.table_version import TableVersion

# A key that is a safe path in any archive: no dots, since the first dot ends a WebDataset key, and
# no characters that would have to be escaped.
_SAFE_KEY = "([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+"
_MAX_KEY_LENGTH = 80

_KEPT = """
SELECT s.*, d.* EXCLUDE ("drop", id), {signals} AS signals_row, {pairs} AS pairs_row
FROM (FROM samples WHERE in_range(id)) s JOIN (FROM decisions WHERE in_range(id)) d
ON d."drop" = s."drop" AND d.id = s.id {joins}
"""
_JOIN = """
LEFT JOIN (FROM {0} WHERE in_range(id)) {0} ON {0}."drop" = s."drop" AND {0}.id = s.id
"""
_REPEATED = "SELECT key FROM kept WHERE in_range(key) GROUP BY key HAVING count(*) > 1"
_NAMED = f"""
SELECT "drop", id, key, row, bytes, signals_row, pairs_row, {", ".join(REPAIR_TYPES)},
  length(key) > {_MAX_KEY_LENGTH} OR NOT regexp_full_match(key, '{_SAFE_KEY}')
  OR repeated.key IS NOT NULL AS needs_new_name
FROM (FROM kept WHERE in_range(key)) LEFT JOIN (FROM repeated WHERE in_range(key)) repeated
USING (key)
"""


def write_shard_lists(
    tables: Tables,
    versions: dict[str, int],
    target: Files,
    scratch: Path,
    engine: Engine,
    exported: str = "keep",
    *,
    max_samples: int,
    max_bytes: int,
) -> list[int]:
    """Write the list of every shard. Returns how many samples each shard has.

    A shard is closed before the sample that would exceed `max_samples`, or whose media, text and
    metadata would exceed `max_bytes`. A sample that is larger than that has a shard of its own.

    Args:
        tables: the corpus's tables.
        versions: the versions of `samples` and `decisions`, and of the tables of signals that are
            exported.
        target: where the lists are written, so that all workers can read them.
        scratch: a local folder for scratch tables.
        engine: settings of corpus.yaml.
        exported: the condition that decisions of exported samples satisfy.
        max_samples: the largest number of samples in a shard.
        max_bytes: the largest number of bytes in a shard.
    """
    sizes = []
    kept = _kept_samples(tables, versions, scratch, exported, engine)
    for number, shard in enumerate(_split(kept, max_samples, max_bytes)):
        named = shard.append_column("name", pa.array(_names(shard), pa.string()))
        columns = ["row", "bytes", "signals_row", "pairs_row", *REPAIR_TYPES, "name"]
        content = pa.BufferOutputStream()
        feather.write_feather(named.select(columns), content)
        target.write(_path(number), content.getvalue().to_pybytes())
        sizes.append(shard.num_rows)
    return sizes


def read_shard_list(target: Files, number: int) -> pa.Table:
    """The list of a shard: one row a sample."""
    return feather.read_table(pa.BufferReader(target.read(_path(number))))


def _path(number: int) -> str:
    return f"{STATE}/lists/{number:06d}.arrow"


def _kept_samples(
    tables: Tables, versions: dict[str, int], folder: Path, exported: str, engine: Engine
) -> Iterator[pa.Table]:
    """Every kept sample in order, in tables of at most 8,192 rows."""
    sizes = ("image_bytes", "audio_bytes", "octet_length(text)", "octet_length(meta)")
    size = " + ".join(f"CAST(coalesce({size}, 0) AS BIGINT)" for size in sizes)
    columns = {"drop": "drop", "id": "id", "row": "_rowid"}
    # Decisions that an older version of the code made have no captions to repair.
    decided = tables.open("decisions", versions["decisions"]).schema.names
    repairs = {n: n if n in decided else "CAST(NULL AS STRING)" for n in REPAIR_TYPES}
    queries = {
        "samples": (columns | {"key": "key", "bytes": size}, None),
        "decisions": ({"drop": "drop", "id": "id"} | repairs, exported),
    }
    measured = {kind: n for n in versions if (kind := kind_of(n)) in ("signals", "pairs")}
    queries |= dict.fromkeys(measured.values(), (columns, None))
    sources = {name: TableVersion(tables, name, versions[name]) for name in queries}
    count = sources["samples"].open().count_rows()
    with scratch_tables(engine, folder, count) as scratch:
        for name, (selected, where) in queries.items():
            scratch.scan(name.partition("__")[0], sources[name], selected, where)
        rows = {
            kind: f"{kind}.row" if kind in measured else "NULL::UBIGINT"
            for kind in ("signals", "pairs")
        }
        joins = " ".join(_JOIN.format(kind) for kind in measured)
        by = dict.fromkeys(("samples", "decisions", *measured), "id")
        scratch.create("kept", _KEPT.format(**rows, joins=joins), **by)
        scratch.create("repeated", _REPEATED, kept="key")
        scratch.create("named", _NAMED, kept="key", repeated="key")
        yield from scratch.in_order("named", ["drop", "key", "id"])


def _split(batches: Iterator[pa.Table], max_samples: int, max_bytes: int) -> Iterator[pa.Table]:
    """The same rows, split into shards. Little more than one shard's rows are held in memory."""
    rows = next(batches, None)
    while rows is not None and rows.num_rows:
        while rows.num_rows <= max_samples and (batch := next(batches, None)) is not None:
            rows = pa.concat_tables([rows, batch])
        total = np.cumsum(rows["bytes"].to_numpy())
        end = max(1, min(max_samples, int(np.searchsorted(total, max_bytes, "right"))))
        yield rows.slice(0, end).combine_chunks()
        rows = rows.slice(end)


def _names(shard: pa.Table) -> list[str]:
    """The samples' names in an archive.

    The name is the key if it is safe and no other sample has it. Otherwise it is a safe form of
    the key, a ~ and a hash of the sample. No safe key holds a ~, so the names are unique.
    """
    columns = (shard[c].to_pylist() for c in ("drop", "id", "key", "needs_new_name"))
    return [
        f"{_safe(key)}~{identity.run_key(drop, sample)}" if needs_new_name else key
        for drop, sample, key, needs_new_name in zip(*columns, strict=True)
    ]


def _safe(key: str) -> str:
    start = key[:_MAX_KEY_LENGTH]
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in start)
