"""Times exact searches with a condition, before and after its columns have scalar indexes.

    python benchmarks/scalar_indexes.py [--rows 200000] [--dim 512]

Vectors are random: a scan reads all of them, whatever they are.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator

import lance
import numpy as np
import pyarrow as pa

from pipelines.index.build import SCALAR_INDEXES
from store.arrow import vector_column
from store.search.column_query import ColumnQuery
from store.search.open_gallery import OpenGallery

CONDITIONS = [
    "image_width = 300",
    "text_language = 'zz'",
    "image_width >= 4000",
    "text_language = 'en'",
    "image_width >= 256",
    None,
]
BATCH, ROUNDS = 20_000, 9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    first = next(batches(rng, 1, options.dim))
    with tempfile.TemporaryDirectory() as folder:
        rows = batches(rng, options.rows, options.dim)
        reader = pa.RecordBatchReader.from_batches(first.schema, rows)
        table = lance.write_dataset(reader, folder)
        query = ColumnQuery("vector", rng.normal(size=options.dim).astype(np.float32), 0.0)
        before = [milliseconds(table, query, condition) for condition in CONDITIONS]
        start = time.perf_counter()
        for column in ("image_width", "text_language"):
            lance.dataset(folder).create_scalar_index(column, SCALAR_INDEXES[column])
        built = time.perf_counter() - start
        table = lance.dataset(folder)
        size = sum(index.total_size_bytes or 0 for index in table.describe_indices())
        print(f"indexes built in {built:.2f} s, {size / 1e6:.1f} MB")
        print("| condition | rows | without, ms | with, ms |\n|---|---|---|---|")
        for condition, without in zip(CONDITIONS, before, strict=True):
            share = table.count_rows(condition) / options.rows
            ms = milliseconds(table, query, condition)
            print(f"| {condition} | {share:.2%} | {without:.0f} | {ms:.0f} |", flush=True)


def batches(rng: np.random.Generator, rows: int, dim: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, BATCH):
        size = min(BATCH, rows - start)
        vectors = rng.normal(size=(size, dim)).astype(np.float32)
        columns = {
            "vector": vector_column(vectors),
            "image_width": pa.array(rng.integers(64, 4096, size), pa.int32()),
            "text_language": rng.choice(["en", "de", "fr", "zz"], size, p=[0.7, 0.2, 0.09, 0.01]),
        }
        yield pa.record_batch(columns)


def milliseconds(table: lance.LanceDataset, query: ColumnQuery, condition: str | None) -> float:
    """The median time of an exact search for ten rows."""
    gallery, times = OpenGallery(table), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        gallery.fetch(query, 10, ["image_width"], condition)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


if __name__ == "__main__":
    main()
