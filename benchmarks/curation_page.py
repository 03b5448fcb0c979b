"""The page about curation over many samples: seconds and memory, beside pandas.

    uv pip install --target peers pandas
    PYTHONPATH=peers:. python benchmarks/curation_page.py   # a million samples, 40 signals, 4 drops

The peer reads the signals into one data frame, and takes counts, least, greatest, histogram and ten
rows at both ends of each column; ours is asked for the same, and then for the whole page. Each runs
in a process of its own. Histograms and ends are compared.
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
from machine import peak, timed

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
    """Normal, lognormal and whole numbers, names; every tenth is null."""
    rng = np.random.default_rng(0)
    for start in range(0, count, _ROWS):
        rows = min(_ROWS, count - start)
        arrays = []
        for place, kind in enumerate(schema.SIGNAL_TYPES.values()):
            missing = rng.random(rows) < 0.1
            if schema.is_text(kind):
                values: Any = np.array(["en", "de", "fr", "png", "none"])[rng.integers(0, 5, rows)]
            elif pa.types.is_integer(kind):
                values = rng.lognormal(5, 1, rows).astype(int)
            else:
                values = rng.lognormal(3, 2, rows) if place % 2 else rng.normal(size=rows)
            arrays.append(pa.array(values, kind, mask=missing))
        ids = [f"{n * 2654435761 % 2**64:032x}" for n in range(start, start + rows)]
        drops = [f"drop-{n * DROPS // count}" for n in range(start, start + rows)]
        rest = [pa.nulls(rows, schema.SIGNALS.field(n).type) for n in schema.FINGERPRINT_TYPES]
        whole = [pa.array(drops), pa.array(ids), *arrays, *rest, pa.nulls(rows, pa.string())]
        yield pa.RecordBatch.from_arrays(whole, schema=schema.SIGNALS)


def samples(workspace: Workspace) -> Iterator[pa.RecordBatch]:
    for batch in workspace.tables.open("signals").to_batches(columns=["drop", "id"]):
        rows = batch.num_rows
        known: dict[str, Any] = {name: batch[name] for name in ("drop", "id")}
        known |= {"key": batch["id"], "image_id": batch["id"], "text_id": batch["id"]}
        known["source"] = pa.array([f"{n % 50}.tar" for n in range(rows)])
        known["text"] = pa.array(["a caption"] * rows, pa.large_string())
        images = [_PICTURES[n % len(_PICTURES)] for n in range(rows)]
        known["image"] = pa.array(images, pa.large_binary())
        arrays = [known.get(f.name, pa.nulls(rows, f.type)) for f in schema.SAMPLES]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema.SAMPLES)


def make(root: Path, count: int) -> None:
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


def ours(root: Path) -> tuple[dict[str, tuple[np.ndarray, list[float], list[float]]], Any]:
    workspace = Workspace.open(root)
    measured = [c for c in columns(workspace) if not c.is_text]
    found, _ = tally(workspace, measured, limits([], workspace, [c.name for c in measured]))
    told = {
        name: (one.counts, *([v for _, v in end.rows()[:10]] for end in (one.lowest, one.highest)))
        for name, one in found.items()
    }
    return told, {name: one.edges for name, one in found.items()}


def page(root: Path) -> int:
    written = write_curation(Workspace.open(root), root / "curation.html")
    return sum(path.stat().st_size for path in written)


def theirs(root: Path, edges: dict[str, np.ndarray]) -> dict[str, Any]:
    frame = lance.dataset(f"{root}/tables/signals.lance").to_table(["id", *edges]).to_pandas()
    told = {}
    for name in edges:
        column = frame[name].dropna().astype(float)
        column.describe()
        ends = column.nsmallest(10).tolist(), column.nlargest(10).tolist()
        told[name] = (np.histogram(column, edges[name])[0], *ends)
    return told


def measured(work: Any, *given: Any) -> tuple[Any, float, Any]:
    took, result = timed(lambda: work(*given))
    return took, peak(), result


def apart(work: Any, *given: Any) -> tuple[Any, float, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measured, work, *given).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        apart(make, root, options.samples)
        our_time, our_peak, (found, edges) = apart(ours, root)
        their_time, their_peak, told = apart(theirs, root, edges)
        page_time, page_peak, size = apart(page, root)
    same = sum(
        np.array_equal(found[n][0], told[n][0]) and found[n][1:] == told[n][1:] for n in found
    )
    print(f"\n{options.samples:,} samples, {len(found)} signals that are numbers, {DROPS} drops\n")
    print("| | seconds | of all cores | peak GB |\n|---|---|---|---|")
    for name, took, most in (
        ("ours: histograms and ends, over all and by drop", our_time, our_peak),
        ("peer: pandas, over all", their_time, their_peak),
        (f"ours: the {DROPS + 1} pages whole, {size / 1e6:.1f} MB", page_time, page_peak),
    ):
        print(f"| {name} | {took.clock:.1f} | {took.busy:.1f} | {most:.2f} |")
    ratio = our_time / their_time
    print(f"\ntime to the peer's {ratio.clock:.2f}, memory {our_peak / their_peak:.2f};")
    print(f"histograms and ends of {same} of {len(found)} signals are the peer's")


if __name__ == "__main__":
    main()
