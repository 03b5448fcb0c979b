"""Measure kinds of queries over an index: what each adds to a search of one vector.

    python benchmarks/query_kinds.py PAIRS.npy --rows 100000

The gallery is that of `benchmarks/grown_gallery.py`. Queries are vectors: no model runs. All kinds
take turns, so that the load of the machine is the same for all.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from grown_gallery import TOP, captions, make_release

import isotrope
from isotrope import all_of, any_of, none_of
from store.search.search import Search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pairs", type=Path, help="a file (2, n, d) of images and captions")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--folder", help="of the tables, which are kept")
    options = parser.parse_args()
    kept = nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory()
    with kept as folder:
        made = make_release(folder, options.pairs, options.rows, options.queries)
        words = [text.as_py() for text in captions(made.topics, seed=1)]
        kinds = query_kinds(isotrope.connect(folder), made.queries, words)
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        complete: dict[str, list[bool]] = {kind: [] for kind in kinds}
        for number in range(-1, len(made.queries) - 1):  # the first is a warm-up
            for kind, search in kinds.items():
                started = time.perf_counter()
                result = search(number).limit(TOP).run()
                if number >= 0:
                    seconds[kind].append(time.perf_counter() - started)
                    complete[kind].append(result.complete)
    rows = made.release.indexes["image"].rows
    print(f"\n{rows:,} x {made.release.dim}, top {TOP}, kinds take turns\n")
    print("| query | p50, ms | p99, ms | ratio | proven |\n|---|---|---|---|---|")
    base = seconds["one vector"]
    for kind, values in seconds.items():
        p50, p99 = 1000 * np.quantile(values, (0.5, 0.99))
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"| {kind} | {p50:.1f} | {p99:.1f} | {ratio:.1f} | {np.mean(complete[kind]):.0%} |")


def query_kinds(
    corpus: isotrope.Corpus, queries: np.ndarray, words: list[str]
) -> dict[str, Callable[[int], Search]]:
    """What makes a query of each kind from the number of its first vector."""

    def one(number: int) -> Search:
        return corpus.search(vectors={"text": queries[number]})

    return {
        "one vector": one,
        "raw": lambda n: one(n).correct("none"),
        "1,000 rows of a condition": lambda n: one(n).where(f"key < '{1000:032x}'"),
        "a fifth of the rows": lambda n: one(n).where(
            "id LIKE '%0' OR id LIKE '%2' OR id LIKE '%4'"
        ),
        "dedup": lambda n: one(n).dedup(0.94),
        "diverse": lambda n: one(n).diverse(0.5),
        "hybrid": lambda n: one(n).hybrid(words[n]),
        "hybrid, two words": lambda n: one(n).hybrid(" ".join(words[n].split()[:2])),
        "all_of two": lambda n: all_of(one(n), one(n + 1)),
        "any_of two": lambda n: any_of(one(n), one(n + 1)),
        "all_of two, none_of one": lambda n: all_of(one(n), one(n + 1), none_of(one(n - 1))),
    }


if __name__ == "__main__":
    main()
