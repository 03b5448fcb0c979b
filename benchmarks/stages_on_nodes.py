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
from functools import partial
from pathlib import Path

from benchmarks.growth import configure, run_stages, write_drop
from benchmarks.lists_on_nodes import OBJECT_STORE
from embedders.pool.ray_cluster import cluster
from pipelines.stages.context import StageContext
from store.workspace import Workspace
from tests.helpers.ray_nodes import Nodes, on_one_node_and_two
from tests.helpers.stages import build

_COMMAND = ("-m", "benchmarks.stages_on_nodes", "--one")
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


def run_on(nodes: Nodes, root: Path) -> dict[str, tuple[float, float]]:
    """`make` in a process of its own, as a driver of the cluster."""
    result: dict[str, tuple[float, float]] = nodes.result(*_COMMAND, str(root))
    return result


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
        run = partial(run_on, root=root)
        turns = [on_one_node_and_two(run, OBJECT_STORE) for _ in range(options.repeats)]
    one, two = zip(*turns, strict=True)
    print("| stage | s, one node | s, two nodes | ratio | driver, processor s | bound |")
    print("|---|---|---|---|---|---|")
    columns = ((one, 0), (two, 0), (one + two, 1))
    seconds = {
        stage: [statistics.median(run[stage][n] for run in runs) for runs, n in columns]
        for stage in _STAGES
    }
    seconds["all"] = [sum(values) for values in zip(*seconds.values(), strict=True)]
    for stage, values in seconds.items():
        first, second, driver = values
        bound = first / (driver + max(0.0, first - driver) / 2)
        print(
            f"| {stage} | {first:.1f} | {second:.1f} | {first / second:.2f} | {driver:.1f}"
            f" | {bound:.2f} |"
        )


if __name__ == "__main__":
    main()
