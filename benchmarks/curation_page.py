"""Measure time and memory of the curation report over many samples, and compare with pandas.

    uv pip install --target peers pandas
    PYTHONPATH=peers:. python benchmarks/curation_page.py   # a million samples, 40 signals, 4 drops

The peer reads the signals into one data frame and computes for each column the counts, minimum,
maximum, histogram and the ten lowest and highest values. isotrope computes the same, and then the
whole report. Each runs in a process of its own. Histograms and extreme values must be equal; the
number of equal signals is printed.
"""

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from machine import peak_memory, timed

from pipelines.decisions.stage import decide
from pipelines.reports.curation.column_statistics import tally
from pipelines.reports.curation.columns import columns
from pipelines.reports.curation.report import write_curation
from pipelines.reports.curation.thresholds import limits
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.stages import EVERY_DROP
from store.workspace import Workspace
from tests.helpers.corpus import picture

DROPS = 4
CONFIG = """\
sources:
  made: {path: drops}
policy:
  image_min_side: {min: 40}
  text_chars: {max: 5000}
  image_sharpness: {min: 2}
"""
_ROWS = 50_000
_PICTURES = [picture((n % 256, 90, 200), n) for n in range(256)]


def signals(count: int) -> Iterator[pa.RecordBatch]:
    """Normal and lognormal numbers, integers and names; a tenth of the values is null."""
    rng = np.random.default_rng(0)
    for start in range(0, count, _ROWS):
        rows = min(_ROWS, count - start)
        arrays = []
        for number, kind in enumerate(schema.SIGNAL_TYPES.values()):
            is_null = rng.random(rows) < 0.1
            if schema.is_text(kind):
                values: Any = np.array(["en", "de", "fr", "png", "none"])[rng.integers(0, 5, rows)]
            elif pa.types.is_integer(kind):
                values = rng.lognormal(5, 1, rows).astype(int)
            else:
                values = rng.lognormal(3, 2, rows) if number % 2 else rng.normal(size=rows)
            arrays.append(pa.array(values, kind, mask=is_null))
        ids = [f"{n * 2654435761 % 2**64:032x}" for n in range(start, start + rows)]
        drops = [f"drop-{n * DROPS // count}" for n in range(start, start + rows)]
        nulls = [pa.nulls(rows, schema.SIGNALS.field(n).type) for n in schema.FINGERPRINT_TYPES]
        columns = [pa.array(drops), pa.array(ids), *arrays, *nulls, pa.nulls(rows, pa.string())]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.SIGNALS)


def samples(workspace: Workspace) -> Iterator[pa.RecordBatch]:
    """A sample with an image and a caption for each row of signals."""
    for batch in workspace.tables.open("signals").to_batches(columns=["drop", "id"]):
        rows = batch.num_rows
        columns: dict[str, Any] = {name: batch[name] for name in ("drop", "id")}
        columns |= {"key": batch["id"], "image_id": batch["id"], "text_id": batch["id"]}
        columns["source"] = pa.array([f"{n % 50}.tar" for n in range(rows)])
        columns["text"] = pa.array(["a caption"] * rows, pa.large_string())
        images = [_PICTURES[n % len(_PICTURES)] for n in range(rows)]
        columns["image"] = pa.array(images, pa.large_binary())
        arrays = [columns.get(f.name, pa.nulls(rows, f.type)) for f in schema.SAMPLES]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema.SAMPLES)


def make(root: Path, count: int) -> None:
    """Write a corpus with samples, signals and decisions."""
    (root / "corpus.yaml").write_text(CONFIG, encoding="utf-8")
    workspace = Workspace.open(root)
    tables = workspace.tables
    tables.replace("signals", schema.SIGNALS, signals(count), None)
    tables.replace("samples", schema.SAMPLES, samples(workspace), None)
    counts = {"input": count, "kept": count, "rejected": 0, "failed": 0, "units": 1, "resumed": 0}
    stage = {"drop": EVERY_DROP, "stage": "duplicates", "run_key": "", "output": ""}
    stage |= {**counts, "seconds": 0.0, "published_at": 0}
    stages = pa.Table.from_pylist([stage], schema=schema.STAGES)
    tables.replace("stages", schema.STAGES, stages.to_batches(), None)
    decide(StageContext(workspace))


Summary = dict[str, tuple[np.ndarray, list[float], list[float]]]


def isotrope_summary(root: Path) -> tuple[Summary, dict[str, np.ndarray]]:
    """Histogram, ten lowest and ten highest values by signal; and the edges of the bins."""
    workspace = Workspace.open(root)
    numeric = [c for c in columns(workspace) if not c.is_text]
    statistics, _ = tally(workspace, numeric, limits([], workspace, [c.name for c in numeric]))
    summary = {
        name: (s.counts, *([v for _, v in end.rows()[:10]] for end in (s.lowest, s.highest)))
        for name, s in statistics.items()
    }
    return summary, {name: s.edges for name, s in statistics.items()}


def write_report(root: Path) -> int:
    """Write the whole report; returns its size in bytes."""
    written = write_curation(Workspace.open(root), root / "curation.html")
    return sum(path.stat().st_size for path in written)


def pandas_summary(root: Path, edges: dict[str, np.ndarray]) -> Summary:
    frame = lance.dataset(f"{root}/tables/signals.lance").to_table(["id", *edges]).to_pandas()
    summary = {}
    for name in edges:
        column = frame[name].dropna().astype(float)
        column.describe()
        ends = column.nsmallest(10).tolist(), column.nlargest(10).tolist()
        summary[name] = (np.histogram(column, edges[name])[0], *ends)
    return summary


def measure(work: Any, *arguments: Any) -> tuple[Any, float, Any]:
    """Seconds, peak memory in GB, and the result of `work`."""
    seconds, result = timed(lambda: work(*arguments))
    return seconds, peak_memory(), result


def measure_in_process(work: Any, *arguments: Any) -> tuple[Any, float, Any]:
    """As `measure`, in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, work, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        measure_in_process(make, root, options.samples)
        own_seconds, own_peak, (own, edges) = measure_in_process(isotrope_summary, root)
        peer_seconds, peer_peak, peer = measure_in_process(pandas_summary, root, edges)
        report_seconds, report_peak, size = measure_in_process(write_report, root)
    equal = sum(np.array_equal(own[n][0], peer[n][0]) and own[n][1:] == peer[n][1:] for n in own)
    print(f"\n{options.samples:,} samples, {len(own)} numeric signals, {DROPS} drops\n")
    print("| | seconds | processor seconds | peak GB |\n|---|---|---|---|")
    for name, seconds, peak in (
        ("isotrope: histograms and extremes, in all and by drop", own_seconds, own_peak),
        ("pandas: histograms and extremes, in all", peer_seconds, peer_peak),
        (f"isotrope: all {DROPS + 1} pages, {size / 1e6:.1f} MB", report_seconds, report_peak),
    ):
        print(f"| {name} | {seconds.wall:.1f} | {seconds.cpu:.1f} | {peak:.2f} |")
    ratio = own_seconds / peer_seconds
    print(f"\ntime relative to pandas {ratio.wall:.2f}, memory {own_peak / peer_peak:.2f};")
    print(f"histograms and extremes of {equal} of {len(own)} signals equal those of pandas")


if __name__ == "__main__":
    main()
