"""Measure how long the choice of a correction takes, and compare it with another commit.

    git worktree add ../before COMMIT
    python benchmarks/selection.py features/*.np[yz] --before ../before

The pairs of the first direction of each file are the bank and the validation pairs, as in
`benchmarks/gain.py`. The two trees take turns in processes of their own, and the table shows the
medians of processor time, which hardly varies on a shared machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

MEASURE = "--measure"


def measure(path: Path) -> None:
    """Print the seconds of processor time of one choice, with the packages on the import path."""
    from feature_sets import read_file
    from machine import timed

    from store.corrections.select import choose_method

    pairs = next(iter(read_file(path)))
    right = [np.flatnonzero(pairs.clusters == c) for c in pairs.clusters]
    seconds, _ = timed(
        lambda: choose_method(
            gallery=pairs.gallery, gallery_ids=pairs.clusters, queries=pairs.queries,
            relevant=right, query_bank=pairs.queries, gallery_bank=pairs.gallery,
            query_bank_ids=pairs.clusters, gallery_bank_ids=pairs.clusters,
        )
    )  # fmt: skip
    print(seconds.cpu)


def run(tree: Path, path: Path) -> float:
    """The seconds of a choice with the code of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, MEASURE, str(path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("features", type=Path, nargs="*")
    parser.add_argument("--before", type=Path, help="a tree of another commit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(MEASURE, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    trees = [Path(__file__).resolve().parents[1]]
    trees += [options.before.resolve()] if options.before else []
    print("| features | seconds | before | ratio |", "|---|---|---|---|", sep="\n")
    for path in options.features:
        seconds: list[list[float]] = [[] for _ in trees]
        for _ in range(options.repeats):
            for tree, runs in zip(trees, seconds, strict=True):
                runs.append(run(tree, path))
        now, *before = (statistics.median(runs) for runs in seconds)
        columns = [f"{before[0]:.2f}", f"{now / before[0]:.2f}"] if before else ["", ""]
        print("|", " | ".join([path.stem, f"{now:.2f}", *columns]), "|", flush=True)


if __name__ == "__main__":
    main()
