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
import tempfile
import time
from pathlib import Path

import numpy as np

MEASURE = "--measure"


def measure(path: Path) -> None:
    """Print the seconds of processor time of one choice, with the `isotrope` on the import path."""
    import isotrope

    arrays = np.load(path)
    queries, gallery, ids = arrays["queries"], arrays["gallery"], arrays["clusters"]
    right = [np.flatnonzero(ids == each) for each in ids]
    start = time.process_time()
    isotrope.select(
        gallery=gallery, gallery_ids=ids, queries=queries, relevant=right,
        query_bank=queries, gallery_bank=gallery, query_bank_ids=ids, gallery_bank_ids=ids,
    )  # fmt: skip
    print(time.process_time() - start)


def run(tree: Path, path: Path) -> float:
    """The seconds of a choice with the code of a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, MEASURE, str(path)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def save_pairs(path: Path, folder: str) -> Path:
    """Save the pairs of the first direction of a file, so that other trees can read them."""
    from feature_sets import read_file

    pairs = next(iter(read_file(path)))
    saved = Path(folder) / f"{path.stem}.npz"
    np.savez(saved, queries=pairs.queries, gallery=pairs.gallery, clusters=pairs.clusters)
    return saved


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
        with tempfile.TemporaryDirectory() as folder:
            saved = save_pairs(path, folder)
            for _ in range(options.repeats):
                for tree, runs in zip(trees, seconds, strict=True):
                    runs.append(run(tree, saved))
        now, *before = (statistics.median(runs) for runs in seconds)
        columns = [f"{before[0]:.2f}", f"{now / before[0]:.2f}"] if before else ["", ""]
        print("|", " | ".join([path.stem, f"{now:.2f}", *columns]), "|", flush=True)


if __name__ == "__main__":
    main()
