"""Measure the lists of the stages over all drops, without media: kept samples, clusters, parts.

    python -m benchmarks.lists                       # 200,000 and 2,000,000 samples

Samples have an image and a caption; one image in ten has two captions. The tables hold ids and
vectors of 8 dimensions. The lists are made once, and again after 1% of the samples was added: then
the rows of the last gallery are compared with the parts, and only the new ones come out. Seconds
are those of the processors; memory is the peak of the process above that after the imports.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import lance
import numpy as np
import psutil
import pyarrow as pa

from assets.metadata.usage import measured
from pipelines.decisions.kept_samples import kept_samples
from pipelines.gallery.parts import Comparison, GalleryParts
from store.config.engine import DuckDB
from store.tables import schema
from store.tables.table_version import TableVersion
from store.workspace import Workspace

Columns: TypeAlias = Callable[[range], dict[str, Any]]  # of each name, values or an array
DIM, DROP, ENCODER = 8, "all", "null@1"
_BATCH = 50_000
_GALLERY = pa.schema([f for f in schema.gallery(DIM) if f.name in
                      ("part_id", "id", "cluster", "sample_ids", "drops")])  # fmt: skip


def _ids(kind: str, numbers: range) -> list[str]:
    return [hashlib.blake2b(f"{kind}{n}".encode(), digest_size=16).hexdigest() for n in numbers]


def _columns(start: int, stop: int) -> dict[str, list[str]]:
    numbers = range(start, stop)
    images = [n - 1 if n % 20 == 1 else n for n in numbers]
    return {
        "id": _ids("sample", numbers),
        "image_id": [hashlib.blake2b(b"image%d" % n, digest_size=16).hexdigest() for n in images],
        "text_id": _ids("text", numbers),
    }


def add(
    workspace: Workspace, start: int, stop: int, drop: str = DROP, more: Columns | None = None
) -> None:
    """Add rows of samples, decisions, signals and vectors.

    Args:
        workspace: the corpus.
        start, stop: the numbers of the samples, which decide on their ids.
        drop: of the samples.
        more: further columns of samples or signals, by the numbers of the samples.
    """
    for first in range(start, stop, _BATCH):
        columns = _columns(first, min(first + _BATCH, stop))
        count = len(columns["id"])
        keys = [f"{n:09d}" for n in range(first, first + count)]
        common: dict[str, Any] = {"drop": [drop] * count, "source": [drop] * count, "key": keys}
        common |= columns | {"keep": [True] * count, "policy": ["0"] * count}
        common |= more(range(first, first + count)) if more else {}
        for name, columns_schema in (
            ("samples", schema.SAMPLES),
            ("decisions", schema.DECISIONS),
            ("signals", schema.SIGNALS),
        ):
            arrays = [
                pa.array(common[f.name], f.type) if f.name in common else pa.nulls(count, f.type)
                for f in columns_schema
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=columns_schema)
            workspace.tables.replace(name, columns_schema, [batch], "false")
        parts = [*dict.fromkeys(columns["image_id"]), *columns["text_id"]]
        modalities = ["image"] * (len(parts) - count) + ["text"] * count
        values = pa.array(np.zeros(len(parts) * DIM, np.float32))
        vectors = pa.FixedSizeListArray.from_arrays(values, DIM)
        batch = pa.RecordBatch.from_arrays(
            [pa.array(parts), pa.array(modalities), pa.array([ENCODER] * len(parts)), vectors],
            schema=schema.vectors(DIM),
        )
        workspace.tables.replace("vectors__local", schema.vectors(DIM), [batch], "false")


def lists(workspace: Workspace, folder: Path, write: bool) -> dict[str, Comparison]:
    """Make the lists, and compare them with the galleries; `write` the ids of galleries."""
    tables, comparisons = workspace.tables, {}
    vectors = TableVersion(tables, "vectors__local", tables.version("vectors__local"))
    with kept_samples(workspace, folder) as samples:
        for m in ("image", "text"):
            parts = GalleryParts(samples, vectors, m, ENCODER)
            name = f"ids_{m}"
            last = TableVersion(tables, name, tables.version(name)) if tables.exists(name) else None
            comparison = comparisons[m] = parts.compare(last, set(), {DROP})
            tiles = parts.tiles(tables, 2048, comparison.is_small)
            rows = (b for tile in tiles for b in tile.select(_GALLERY.names).to_batches())
            if write:
                reader = pa.RecordBatchReader.from_batches(_GALLERY, _cast(rows))
                lance.write_dataset(reader, tables.uri(f"ids_{m}"), schema=_GALLERY)
            else:
                assert sum(batch.num_rows for batch in rows) == comparison.changed
    return comparisons


def _cast(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        yield from pa.Table.from_batches([batch]).cast(_GALLERY).to_batches()


def measure(root: Path, samples: int, memory: int) -> dict[str, float]:
    engine = f"engine: {{duckdb: {{memory: {memory}}}}}"
    (root / "corpus.yaml").write_text(f"sources: {{s: {{path: drops}}}}\n{engine}\n")
    workspace = Workspace.open(root)
    add(workspace, 0, samples)
    results = {}
    for name, write in (("all", True), ("+1%", False)):
        before = psutil.Process().memory_info().rss
        with measured() as usage:
            comparisons = lists(workspace, root / "scratch", write)
        results[f"{name}, s"] = usage.processor_seconds
        results[f"{name}, MB"] = (usage.peak_bytes - before) / 1e6
        results[f"{name}, rows"] = sum(c.changed for c in comparisons.values())
        if write:
            add(workspace, samples, samples + samples // 100)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 2_000_000])
    memory = DuckDB().memory
    parser.add_argument("--memory", type=int, default=memory, help="bytes that DuckDB takes")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        size, path = options.one
        print(json.dumps(measure(Path(path), int(size), options.memory)))
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.lists", "--one", str(size), folder]
            command += ["--memory", str(options.memory)]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results = json.loads(process.stdout.splitlines()[-1])
        print(f"{size:,}: " + "; ".join(f"{name} {value:,.1f}" for name, value in results.items()))


if __name__ == "__main__":
    main()
