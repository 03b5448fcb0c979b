"""Measure the stages over all drops on one Ray node, and on two.

    python -m benchmarks.stages_on_nodes --samples 200000

The corpus is that of `benchmarks.growth`: tiny pictures, captions, and an encoder without a model.
It is built once; then each stage is made anew on either cluster, two times in turn. The nodes have
one CPU each and an object store of their own. Seconds by the clock need a machine with two idle
cores. The bound is Amdahl's: the seconds of one node, by those of a run in which two nodes halve
all but the processor seconds of the driver.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.growth import configure, run_stages, write_drop
from benchmarks.lists_on_nodes import OBJECT_STORE
from embedders.pool.ray_cluster import cluster
from pipelines.stages.context import StageContext
from store.workspace import Workspace
from tests.helpers.ray_nodes import kill, ray_nodes
from tests.helpers.stages import build

_STAGES = ("pairs", "duplicates", "decisions", "banks", "gallery", "index", "release")


def make(root: Path) -> dict[str, tuple[float, float]]:
    """Make each stage anew: seconds by the clock, and the driver's processor seconds."""
    seconds = {}
    for gallery in (root / "tables").glob("gallery__*"):
        shutil.rmtree(gallery)  # rows that came out the same would not be made again
    with cluster():
        for stage in _STAGES:
            start, driver = time.perf_counter(), time.process_time()
            build(stage, StageContext(Workspace.open(root), forced=True))
            seconds[stage] = time.perf_counter() - start, time.process_time() - driver
    return seconds


def measure(root: Path, repeats: int) -> tuple[list, list]:
    """The seconds of each stage on one node, and on two, of each repeat."""
    one, two = [], []
    with ray_nodes(object_store=OBJECT_STORE) as nodes:
        nodes.worker(1)
        nodes.wait_for_cpus(1)
        for _ in range(repeats):
            one.append(nodes.result("-m", "benchmarks.stages_on_nodes", "--one", str(root)))
            second = nodes.worker(1)
            nodes.wait_for_cpus(2)
            two.append(nodes.result("-m", "benchmarks.stages_on_nodes", "--one", str(root)))
            kill(second)
    return one, two


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--corpus", type=Path, help="built before by this benchmark")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(make(options.one)))
        return
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's spelling)
    with tempfile.TemporaryDirectory() as folder:
        root = options.corpus or Path(folder)
        if not (root / "corpus.yaml").exists():
            write_drop(root / "drops" / "base", range(options.samples))
            configure(root, 5)
            with cluster():
                run_stages(root)
        one, two = measure(root, options.repeats)
    print("| stage | s, one node | s, two nodes | ratio | driver, processor s | bound |")
    print("|---|---|---|---|---|---|")
    totals = [0.0, 0.0, 0.0]
    for stage in (*_STAGES, "all"):
        values = (
            [
                statistics.median(run[stage][column] for run in runs)
                for runs, column in ((one, 0), (two, 0), (one + two, 1))
            ]
            if stage != "all"
            else totals
        )
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        first, second, driver = values
        bound = first / (driver + max(0.0, first - driver) / 2)
        print(
            f"| {stage} | {first:.1f} | {second:.1f} | {first / second:.2f} | {driver:.1f}"
            f" | {bound:.2f} |"
        )


if __name__ == "__main__":
    main()
