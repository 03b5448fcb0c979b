"""Measure how the Ray job that makes gallery rows scales with the number of workers.

    python benchmarks/workers.py                # 60,000 x 512 in a Lance table, banks of 10,000
    python benchmarks/workers.py --rows 200000 --workers 1 2 4 8

The job is `pipelines.gallery.rows.gallery_rows`, which the stage `gallery` runs. Each task reads
the vectors of one tile, applies three corrections in one pass and returns the rows of the gallery.
It is a gallery of texts, so no thumbnails are made, and k-occurrence is not counted.

Each number of workers gets its own Ray with that many CPUs. The numbers of workers take turns, and
the table shows the median of the ratios to the first number. The biases are compared with a fit of
the same vectors in memory. The growth of the driver's peak memory is printed too: the driver holds
tiles, never the whole gallery.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import ray
from machine import unit_rows

from pipelines.gallery.fit import FitPlan, FitSpec
from pipelines.gallery.rows import TILE, GallerySpec, Inputs, gallery_rows
from store.arrow import as_matrix
from store.corrections import fit
from store.tables.banks import Bank
from store.tables.lance_tables import Tables
from store.tables.table_version import TableVersion

DIM, EQUAL = 512, 1e-6
SPECS = {  # one correction for each query modality
    "text": ("nnn", {"alpha": 0.75, "k": 16}),
    "image": ("csls", {"k": 10}),
    "audio": ("inverted_softmax", {"beta": 20.0}),
}


def store_vectors(folder: Path, rows: int) -> lance.LanceDataset:
    """A Lance table of unit vectors."""

    def batches():
        for start in range(0, rows, 10_000):
            flat = pa.array(unit_rows(min(10_000, rows - start), DIM, start).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, DIM)
            yield pa.record_batch([column, pa.nulls(len(column), pa.large_string())], schema=schema)

    schema = pa.schema([("vector", pa.list_(pa.float32(), DIM)), ("text", pa.large_string())])
    reader = pa.RecordBatchReader.from_batches(schema, batches())
    return lance.write_dataset(reader, str(folder / "vectors.lance"))


def bank(name: str, seed: int, size: int) -> Bank:
    ids = np.array([f"{name}{i}" for i in range(size)])
    return Bank(unit_rows(size, DIM, seed), ids, np.empty(0))


def fit_specs(bank_size: int) -> dict[str, FitSpec]:
    """Three corrections that share their banks, so that they are fitted in one pass."""
    queries, items = bank("q", 2**31 - 1, bank_size), bank("h", 2**31 - 2, bank_size)
    return {m: FitSpec(*spec, queries, items) for m, spec in SPECS.items()}


def gallery_parts(vectors: lance.LanceDataset, spec: GallerySpec) -> pa.Table:
    """One part per vector, as the stage passes them to `gallery_rows`; other columns are empty."""
    table = vectors.to_table(columns=[], with_row_id=True)
    rows = table.num_rows
    names = pa.array([str(n) for n in range(rows)])
    columns = {}
    for field in spec.schema:
        if field.name in spec.fitted_schema.names or field.name == "thumbnail":
            continue
        if field.nullable:
            columns[field.name] = pa.nulls(rows, field.type)
        else:
            columns[field.name] = names if field.type == pa.string() else pa.array([[]] * rows)
    for column in ("vector_row", "sample_row", "signal_row"):
        columns[column] = table["_rowid"]
    columns["last_row"] = pa.nulls(rows, pa.uint64())
    columns["same"] = pa.array(np.zeros(rows, bool))
    return pa.table(columns)


def biases(parts: pa.Table, spec: GallerySpec, vectors: lance.LanceDataset) -> np.ndarray:
    """(3, n) biases by query modality, in the order of `SPECS`, made by the Ray job."""
    folder, _, name = vectors.uri.rpartition("/")
    source = TableVersion(Tables(folder), name.removesuffix(".lance"), int(vectors.version))
    inputs = Inputs(source, source, [], source, None)
    split = (parts.slice(start, TILE) for start in range(0, parts.num_rows, TILE))
    batches = gallery_rows(split, spec, inputs, on_ray=True)
    tiles = [np.stack([np.array(batch[f"bias_{m}"]) for m in SPECS]) for batch in batches]
    return np.concatenate(tiles, axis=1)


def run(
    parts: pa.Table, spec: GallerySpec, vectors: lance.LanceDataset, workers: int
) -> tuple[float, np.ndarray]:
    """Seconds of the job after a warm-up, and the biases."""
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        # One tile for each worker: it starts, and measures the banks once.
        biases(parts.slice(0, TILE * workers), spec, vectors)
        start = time.perf_counter()
        result = biases(parts, spec, vectors)
        return time.perf_counter() - start, result
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--bank", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vectors = store_vectors(Path(folder), options.rows)
        specs = fit_specs(options.bank)
        spec = GallerySpec("text", DIM, FitPlan.of(specs), dict.fromkeys(specs, 0.0), {})
        parts = gallery_parts(vectors, spec)
        peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds: dict[int, list[float]] = {n: [] for n in options.workers}
        for _ in range(options.repeats):
            for n in options.workers:
                elapsed, result = run(parts, spec, vectors, n)
                seconds[n].append(elapsed)
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) / 1e6
        gallery = as_matrix(vectors.to_table(columns=["vector"])["vector"])
        for bias, spec in zip(result, specs.values(), strict=True):
            banks = {"query_bank": spec.queries.vectors, "gallery_bank": spec.items.vectors}
            expected = fit(spec.method, gallery=gallery, **banks, **spec.params).bias
            assert np.abs(expected - bias).max() < EQUAL, spec.method
    print(f"\n{options.rows:,} x {DIM}, banks of {options.bank:,}, three corrections in one pass\n")
    print(f"| workers | seconds | speed relative to {options.workers[0]} |\n|---|---|---|")
    first = seconds[options.workers[0]]
    for n, runs in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(first, runs, strict=True))
        print(f"| {n} | {statistics.median(runs):.1f} | {ratio:.2f} |")
    print(f"\nequal to a fit in memory within {EQUAL:g}; the driver grew by {growth:.2f} GB")


if __name__ == "__main__":
    main()
