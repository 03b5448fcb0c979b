"""The Ray job that fits corrections to stored vectors: does it grow with its workers?

    python benchmarks/workers.py                # 60,000 x 512 in a Lance table, a bank of 10,000
    python benchmarks/workers.py --rows 200000 --workers 1 2 4 8

Each number of workers is a Ray of its own with so many CPUs. Rounds are run in turn and medians of
ratios to one worker are given. What comes back is compared with a fit of the same rows in memory,
and the driver's memory above its start is told: it holds tiles, never the gallery.
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
from fit import unit_rows

from pipelines.gallery.fit import FitSpec, FitSpecs, Rows, fit_rows
from store.corrections import fit
from store.tables.banks import Bank

DIM, BANK, EQUAL = 512, 10_000, 1e-6


def stored(folder: Path, rows: int) -> Rows:
    """A table of unit vectors."""

    def batches():
        for start in range(0, rows, 10_000):
            flat = pa.array(unit_rows(min(10_000, rows - start), DIM, start).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, DIM)
            yield pa.RecordBatch.from_arrays([column], names=["vector"])

    schema = pa.schema([pa.field("vector", pa.list_(pa.float32(), DIM))])
    reader = pa.RecordBatchReader.from_batches(schema, batches())
    table = lance.write_dataset(reader, str(folder / "vectors.lance"))
    ids = np.fromiter((b for t in table.to_batches(columns=[], with_row_id=True)
                       for b in t["_rowid"].to_pylist()), np.uint64)  # fmt: skip
    return Rows(table.uri, table.version, ids, np.arange(rows).astype(str))


def ways() -> FitSpecs:
    """Three corrections that share their banks: one pass."""
    queries, items = (
        Bank(unit_rows(BANK, DIM, seed), np.array([f"{name}{i}" for i in range(BANK)]), np.empty(0))
        for seed, name in ((-1 % 2**31, "q"), (-2 % 2**31, "h"))
    )
    specs = {"nnn": {"alpha": 0.75, "k": 16}, "csls": {"k": 10}, "inverted_softmax": {"beta": 20.0}}
    return FitSpecs.of(
        {name: FitSpec(name, params, queries, items) for name, params in specs.items()}
    )


def run(rows: Rows, asked: FitSpecs, workers: int) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds, once the workers are warm, and the biases by method."""
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        warm = Rows(rows.uri, rows.version, rows.ids[: 64 * workers], rows.clusters[: 64 * workers])
        list(fit_rows(warm, asked, tile=64))
        start = time.perf_counter()
        tiles = list(fit_rows(rows, asked))
        took = time.perf_counter() - start
    finally:
        ray.shutdown()
    names = asked.by_name
    return took, {n: np.concatenate([np.asarray(t[n].bias) for t in tiles]) for n in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, asked = stored(Path(folder), options.rows), ways()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took: dict[int, list[float]] = {n: [] for n in options.workers}
        for _ in range(options.repeats):
            for n in options.workers:
                seconds, found = run(rows, asked, n)
                took[n].append(seconds)
        above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        vectors, way = rows.vectors(), asked.by_name["nnn"]
        for name, bias in found.items():
            whole = fit(name, gallery=vectors, query_bank=way.queries.vectors,
                        gallery_bank=way.items.vectors, **asked.by_name[name].params)  # fmt: skip
            assert np.abs(whole.bias - bias).max() < EQUAL, name
    print(f"\n{options.rows:,} x {DIM}, a bank of {BANK:,}, three corrections in one pass\n")
    print("| workers | seconds | speed, to one worker |\n|---|---|---|")
    one = took[options.workers[0]]
    for n, seconds in took.items():
        ratio = statistics.median(a / b for a, b in zip(one, seconds, strict=True))
        print(f"| {n} | {statistics.median(seconds):.1f} | {ratio:.2f} |")
    print(f"\nequal to a fit in memory within {EQUAL:g}; the driver grew by {above:.2f} GB")


if __name__ == "__main__":
    main()
