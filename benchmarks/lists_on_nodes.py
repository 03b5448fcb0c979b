"""Measure the lists of `benchmarks.lists` in one process, on one Ray node, and on two.

    python -m benchmarks.lists_on_nodes --samples 2000000

The nodes have one CPU each and an object store of their own (`tests.helpers.ray_nodes`), DuckDB in
one process has two threads. Seconds by the clock need a machine with two idle cores. Processor
seconds are those of the driver, and of the workers of the busiest node.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.lists import add, lists
from benchmarks.two_nodes import seconds_of_tasks
from embedders.pool.ray_cluster import cluster
from pipelines.engine import open_scratch
from store.workspace import Workspace
from tests.helpers.ray_nodes import Nodes, on_one_node_and_two

OBJECT_STORE = 3_000_000_000  # bytes of a node
_COMMAND = ("-m", "benchmarks.lists_on_nodes", "--one")
_GALLERIES = ("ids_image", "ids_text")


def make(root: Path) -> dict[str, float | str]:
    """Make the lists anew; their seconds, and a hash of the rows of galleries."""
    workspace = Workspace.open(root)
    for name in _GALLERIES:
        shutil.rmtree(root / "tables" / f"{name}.lance", ignore_errors=True)
    start, driver = time.perf_counter(), time.process_time()
    lists(workspace, root / "scratch", write=True)
    seconds, driver = time.perf_counter() - start, time.process_time() - driver
    digest = hashlib.sha256()
    for name in _GALLERIES:
        for batch in workspace.tables.open(name).to_batches(columns=["part_id", "cluster", "id"]):
            for column in batch.columns:
                digest.update("\n".join(column.to_pylist()).encode())
    return {"seconds": seconds, "driver": driver, "hash": digest.hexdigest()}


def make_on_ray(root: Path) -> dict[str, float | str]:
    """`make` on the cluster of RAY_ADDRESS."""
    open_scratch._WORTH = open_scratch._COST = 0  # also for few rows and few cores
    with cluster():
        return make(root) | {"busiest": max(seconds_of_tasks())}


def measure(root: Path) -> dict[str, dict[str, float | str]]:
    def run(nodes: Nodes) -> dict[str, float | str]:
        result: dict[str, float | str] = nodes.result(*_COMMAND, str(root))
        return result

    in_process = make(root)
    one, two = on_one_node_and_two(run, OBJECT_STORE)
    return {"one process": in_process, "one node": one, "two nodes": two}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(make_on_ray(options.one)))
        return
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's spelling)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "corpus.yaml").write_text("sources: {s: {path: drops}}\n")
        add(Workspace.open(root), 0, options.samples)
        results = measure(root)
    print(f"| {options.samples:,} samples | s | driver, processor s | busiest node | same rows |")
    print("|---|---|---|---|---|")
    for name, result in results.items():
        same = "yes" if result["hash"] == results["one process"]["hash"] else "no"
        numbers = (f"{result.get(n, 0):,.0f}" for n in ("seconds", "driver", "busiest"))
        print(f"| {name} | {' | '.join(numbers)} | {same} |")


if __name__ == "__main__":
    main()
