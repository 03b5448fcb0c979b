"""Which samples go into which shard, and by what name: the same for the same decisions, always.

Ordered and joined by DuckDB in a file, as there may be more samples than memory holds; each shard's
list is a file of its own, so that whoever writes the shard reads that alone.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather

from pipelines.engine.duckdb_scratch import ROWS, database, execute
from store import identity
from store.tables.lance_tables import Tables

# A key that is safe as a path in any archive: no dots, which would end it, nor what escapes.
_SAFE = "([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+"
_LONGEST = 80

_KEPT = """
CREATE TABLE kept AS
SELECT s.*, {signals} AS signals_row, {pairs} AS pairs_row
FROM samples s SEMI JOIN decisions d ON d."drop" = s."drop" AND d.id = s.id {joins}
"""
_JOIN = 'LEFT JOIN {0} ON {0}."drop" = s."drop" AND {0}.id = s.id'
_TWICE = "CREATE TABLE twice AS SELECT key FROM kept GROUP BY key HAVING count(*) > 1"
_LISTED = f"""
SELECT "drop", id, key, row, bytes, signals_row, pairs_row,
  length(key) > {_LONGEST} OR NOT regexp_full_match(key, '{_SAFE}') OR twice.key IS NOT NULL AS odd
FROM kept LEFT JOIN twice USING (key) ORDER BY "drop", key, id
"""


def lay_out(
    tables: Tables,
    versions: dict[str, int],
    folder: Path,
    *,
    most_samples: int,
    most_bytes: int,
) -> list[int]:
    """Write the list of every shard to `folder`; returns how many samples each has.

    A shard is closed before the sample that would be one too many, or whose media, text and
    metadata would be too many bytes; a sample that is too large alone has a shard alone.

    Args:
        versions: of `samples` and `decisions`, and of the tables of signals that are exported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for number, shard in enumerate(
        _shards(_kept(tables, versions, folder), most_samples, most_bytes)
    ):
        listed = shard.append_column("name", pa.array(_names(shard), pa.string()))
        columns = ["row", "bytes", "signals_row", "pairs_row", "name"]
        feather.write_feather(listed.select(columns), place(folder, number))
        sizes.append(shard.num_rows)
    return sizes


def place(folder: Path, number: int) -> str:
    """Where the list of a shard is."""
    return str(folder / f"{number:06d}.arrow")


def _kept(tables: Tables, versions: dict[str, int], folder: Path) -> Iterator[pa.Table]:
    """Every kept sample in order, at most 8,192 at a time."""
    sizes = ("image_bytes", "audio_bytes", "octet_length(text)", "octet_length(meta)")
    weight = " + ".join(f"CAST(coalesce({size}, 0) AS BIGINT)" for size in sizes)
    columns = {"drop": "drop", "id": "id", "row": "_rowid"}
    asked = {
        "samples": (columns | {"key": "key", "bytes": weight}, None),
        "decisions": ({n: n for n in ("drop", "id")}, "keep"),
    }
    measured = {kind: n for n in versions if (kind := n.partition("__")[0]) in ("signals", "pairs")}
    asked |= dict.fromkeys(measured.values(), (columns, None))
    with database(folder) as connection:
        for name, (wanted, where) in asked.items():
            scanner = tables.open(name, versions[name]).scanner(
                columns=wanted, filter=where, batch_size=ROWS
            )
            query = f"CREATE TABLE {name.partition('__')[0]} AS FROM stream"
            execute(connection, query, stream=scanner.to_reader())
        rows = {
            kind: f"{kind}.row" if kind in measured else "NULL::UBIGINT"
            for kind in ("signals", "pairs")
        }
        joins = " ".join(_JOIN.format(kind) for kind in measured)
        connection.execute(_KEPT.format(**rows, joins=joins))
        connection.execute(_TWICE)
        for batch in connection.sql(_LISTED).to_arrow_reader(ROWS):
            yield pa.Table.from_batches([batch])


def _shards(batches: Iterator[pa.Table], most_samples: int, most_bytes: int) -> Iterator[pa.Table]:
    """The same rows, cut into shards; no more of them are held than a shard may have."""
    held = next(batches, None)
    while held is not None and held.num_rows:
        while held.num_rows <= most_samples and (more := next(batches, None)) is not None:
            held = pa.concat_tables([held, more])
        size = np.cumsum(held["bytes"].to_numpy())
        end = max(1, min(most_samples, int(np.searchsorted(size, most_bytes, "right"))))
        yield held.slice(0, end).combine_chunks()
        held = held.slice(end)


def _names(shard: pa.Table) -> list[str]:
    """What samples are called in an archive: by their keys, where these are safe and no other
    sample's; else by what is safe of them and a hash of the sample, after a ~, which keeps such
    names apart from all keys."""
    columns = (shard[c].to_pylist() for c in ("drop", "id", "key", "odd"))
    return [
        f"{_safe(key)}~{identity.run_key(drop, sample)}" if odd else key
        for drop, sample, key, odd in zip(*columns, strict=True)
    ]


def _safe(key: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in key[:_LONGEST])
