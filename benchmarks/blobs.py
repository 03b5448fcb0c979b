"""Originals in Lance's blob columns against plain columns of bytes, as in the table `samples`.

    python -m benchmarks.blobs [ROWS] [--bytes 30000]

ROWS (default 4,000) of random bytes of one size, with an id, in two appended fragments. The steps
take turns: a scan of the ids, a scan of all bytes, random rows with their bytes, and a compaction
after a tenth of the rows were deleted. Seconds are medians of three.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

ROUNDS, TAKEN = 3, 200
KINDS = {"plain": None, "blob": {"lance-encoding:blob": "true"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", type=int, nargs="?", default=4_000)
    parser.add_argument("--bytes", type=int, default=30_000)
    options = parser.parse_args()
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for kind in KINDS:
                path = Path(folder, f"{kind}-{number}")
                for step, work in steps(path, kind, options.rows, options.bytes):
                    start = time.perf_counter()
                    work()
                    seconds.setdefault((step, kind), []).append(time.perf_counter() - start)
    shown = Table(f"{options.rows:,} of {options.bytes:,} bytes", *(f"{k}, s" for k in KINDS))
    for step in dict.fromkeys(step for step, _ in seconds):
        medians = (statistics.median(seconds[step, kind]) for kind in KINDS)
        shown.add_row(step, *(f"{each:.3f}" for each in medians))
    Console().print(shown)


def steps(path: Path, kind: str, rows: int, size: int) -> list[tuple[str, Callable[[], Any]]]:
    """The steps with one kind of column, in order."""
    fields = [
        pa.field("id", pa.string(), False),
        pa.field("image", pa.large_binary(), metadata=KINDS[kind]),
    ]
    rng = np.random.default_rng(0)
    halves = [
        pa.table(
            {
                "id": [f"{half}-{n}" for n in range(rows // 2)],
                "image": pa.array([rng.bytes(size) for _ in range(rows // 2)], pa.large_binary()),
            },
            schema=pa.schema(fields),
        )
        for half in range(2)
    ]
    chosen = np.sort(rng.choice(rows, TAKEN, replace=False)).tolist()

    def write() -> None:
        for table in halves:
            lance.write_dataset(table, path, mode="append" if path.exists() else "create")

    def scan_bytes() -> None:
        dataset = lance.dataset(path)
        if kind == "blob":
            for first in range(0, rows, 256):
                read_blobs(dataset, list(range(first, min(first + 256, rows))))
        else:
            for _ in dataset.to_batches(columns=["image"], batch_size=256):
                pass

    def take() -> None:
        dataset = lance.dataset(path)
        if kind == "blob":
            read_blobs(dataset, chosen)
        else:
            dataset.take(chosen, columns=["image"])

    def compact() -> None:
        dataset = lance.dataset(path)
        dataset.delete("id LIKE '%1'")
        dataset.optimize.compact_files(materialize_deletions_threshold=0.0)

    return [
        ("write", write),
        ("scan the ids", lambda: lance.dataset(path).to_table(columns=["id"])),
        ("scan the bytes", scan_bytes),
        (f"take {TAKEN} rows", take),
        ("delete a tenth and compact", compact),
    ]


def read_blobs(dataset: lance.LanceDataset, rows: list[int]) -> None:
    for blob in dataset.take_blobs("image", indices=rows):
        blob.readall()


if __name__ == "__main__":
    main()
