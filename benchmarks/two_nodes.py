"""Measure how the searches for near-copies scale from one Ray node to two, each with one CPU.

    python -m benchmarks.two_nodes                            # 200,000 captions, 100,000 images
    python -m benchmarks.two_nodes --captions 1000000 --images 0 --repeats 3

The corpora are those of `benchmarks.curation_memory`, without media. The cluster is real: a head
without CPUs, and nodes of one CPU, each with its own object store, on this machine. The stage
`duplicates` runs in a process of its own and finds nothing stored. One node and two take turns. The
table shows the median seconds of the whole stage by the clock, the median of the ratios of
neighbouring runs, and whether both gave the same pairs. For that the machine needs two idle cores.

The other columns depend less on what else the machine does: processor seconds of the driver and of
the busiest node's workers, their start included, which is what a run takes on idle machines. The
bound is Amdahl's: all seconds, by those of a run in which two nodes halve all but the driver's.
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

import psutil
import ray

from benchmarks.curation_memory import captions, images
from benchmarks.lists import add
from embedders.pool.ray_cluster import cluster
from pipelines.duplicates import near
from pipelines.duplicates.stage import find_duplicates
from pipelines.stages.context import StageContext
from store import identity
from store.workspace import Workspace
from tests.helpers.ray_nodes import Nodes, on_one_node_and_two

_CONFIG = "sources: {{s: {{path: drops}}}}\nduplicates: {{{kind}, parts: every}}\n"
_KINDS = {"captions": ("text: 0.7", captions), "images": ("image: 31", images)}
_OBJECT_STORE = 2_000_000_000  # bytes of a node: signatures of 2,000,000 captions fit
_STORED = ("duplicates", "near_pairs", "compared", "minhashes")


def run(root: Path) -> dict[str, float | str]:
    """The seconds of the stage, and a hash of its pairs."""
    near._WORTH = near._WORTH_CONNECTED = -1.0  # Ray also for corpora that are small
    workspace = Workspace.open(root)
    with cluster():
        start, driver = time.perf_counter(), time.process_time()
        find_duplicates(StageContext(workspace))
        seconds, driver = time.perf_counter() - start, time.process_time() - driver
        tasks = seconds_of_tasks()
    pairs = workspace.tables.open("near_pairs").to_table(columns=["a", "b", "similarity"])
    rows = sorted(tuple(row.values()) for row in pairs.to_pylist())
    return {
        "seconds": seconds,
        "driver": driver,
        "busiest": max(tasks),
        "pairs": len(rows),
        "hash": identity.run_key(str(rows)),
    }


def seconds_of_tasks() -> list[float]:
    """Processor seconds of the workers of each node of the cluster."""
    address, seconds = ray.get_runtime_context().gcs_address, []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or ()
        if process.info["name"] == "raylet" and f"--gcs-address={address}" in words:
            workers = [w for w in process.children() if "ray::" in "".join(w.cmdline()[:1])]
            times = [worker.cpu_times() for worker in workers]
            seconds.append(sum(each.user + each.system for each in times))
    return seconds


def run_on(nodes: Nodes, root: Path) -> dict[str, float | str]:
    """Run the stage anew in a process of its own, as a driver of the cluster."""
    for table in _STORED:
        shutil.rmtree(root / "tables" / f"{table}.lance", ignore_errors=True)
    result: dict[str, float | str] = nodes.result("-m", "benchmarks.two_nodes", "--one", str(root))
    return result


def measure(root: Path, repeats: int) -> list[tuple[dict[str, float | str], ...]]:
    """The results on one node and on two, in turns."""
    run = partial(run_on, root=root)
    return [on_one_node_and_two(run, _OBJECT_STORE) for _ in range(repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.one)))
        return
    # As the driver, so that neither waits for the other.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's spelling)
    names = ["near-copies of", "pairs", "same pairs", "s, one node", "s, two nodes", "ratio"]
    names += ["driver, processor s", "node, of one", "busiest of two", "ratio of processor s"]
    names += ["driver's share", "bound"]
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    for kind, (setting, columns) in _KINDS.items():
        if not (size := getattr(options, kind)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "corpus.yaml").write_text(_CONFIG.format(kind=setting))
            add(Workspace.open(folder), 0, size, "a", columns)
            results = measure(Path(folder), options.repeats)
        one, two = ([float(turn[n]["seconds"]) for turn in results] for n in (0, 1))
        ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
        same = len({each["hash"] for turn in results for each in turn}) == 1
        driver = statistics.median(float(each["driver"]) for turn in results for each in turn)
        node, busiest = (
            statistics.median(float(turn[n]["busiest"]) for turn in results) for n in (0, 1)
        )
        seconds = [*map(statistics.median, (one, two)), ratio, driver, node, busiest]
        seconds.append((driver + node) / (driver + busiest))
        every = driver + node
        seconds += [driver / every, every / (driver + node / 2)]
        cells = [f"{size:,} {kind}", f"{results[0][0]['pairs']:,}", "yes" if same else "no"]
        cells += [f"{value:,.2f}" if value < 10 else f"{value:,.0f}" for value in seconds]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
