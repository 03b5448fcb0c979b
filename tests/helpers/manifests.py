"""Writes manifests for tests: Parquet files, JSONL files and Lance datasets."""

import json
from pathlib import Path

import lance
import pyarrow as pa
import pyarrow.parquet as pq


def write_parquet(path: Path, rows: list[dict] | pa.Table, **options) -> None:
    """Write a Parquet file; `options` are those of `pq.write_table`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, path, **options)


def write_jsonl(path: Path, rows: list) -> None:
    """Write a JSONL file of rows; bytes are written as they are, as one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def write_manifest(path: Path, rows: list[dict]) -> Path:
    """Write a manifest in the format of its suffix. Returns its path."""
    if path.suffix == ".lance":
        lance.write_dataset(pa.Table.from_pylist(rows), str(path))
    else:
        (write_parquet if path.suffix == ".parquet" else write_jsonl)(path, rows)
    return path
