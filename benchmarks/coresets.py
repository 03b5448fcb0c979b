"""Measure what heads learn from a coreset, from random samples and from the best pairs.

    python benchmarks/coresets.py features/*.np[yz] --stamps demo

Of a random half of the pairs a share is kept, and a linear head is learned from what is kept: by
ridge regression from the queries to the gallery, or by canonical correlation of both. It is asked
on the other half: recall, mean of both directions, with the 95% interval of the mean over the
draws. A coreset is chosen from the centred vectors of both modalities, as `coreset` of a policy
does; `keep_top` keeps the pairs with the highest cosine. With `--swapped`, that share of the pairs
of the first half is mismatched.

The last table is the cost on planted features, and how much of the sum of similarities cells keep.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from feature_sets import Pairs, add_arguments, one_direction_each, unit
from mismatch import swapped

from embedders.alignment.align import retrieval_figures
from embedders.alignment.closed_form import PENALTIES, cca_solutions, ridge_projection
from pipelines.policy.coreset_cells import choose

SHARES = (0.1, 0.2, 0.5)
PENALTY, DIM = 1.0, 128  # of the closed forms
Select = Callable[[Pairs, int, int], np.ndarray]  # pairs, count, seed -> rows


def centred(rows: np.ndarray) -> np.ndarray:
    return unit(rows - rows.mean(axis=0))


def random(pairs: Pairs, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(pairs.queries))[:count]


def keep_top(pairs: Pairs, count: int, seed: int) -> np.ndarray:
    return np.argsort(-(pairs.queries * pairs.gallery).sum(axis=1), kind="stable")[:count]


def facility_location(pairs: Pairs, count: int, seed: int) -> np.ndarray:
    return _chosen(pairs, "facility_location", count)


def k_center(pairs: Pairs, count: int, seed: int) -> np.ndarray:
    return _chosen(pairs, "k_center", count)


def best_then_location(pairs: Pairs, count: int, seed: int) -> np.ndarray:
    """The two steps of a policy: half of the pairs with the highest cosine, then a coreset."""
    best = np.sort(keep_top(pairs, min(2 * count, len(pairs.queries)), seed))
    return best[facility_location(pairs.take(best), count, seed)]


def _chosen(pairs: Pairs, method: str, count: int) -> np.ndarray:
    vectors = [centred(pairs.queries), centred(pairs.gallery)]
    return np.flatnonzero(choose(vectors, method, count).chosen)  # type: ignore[arg-type]


SELECTIONS: dict[str, Select] = {
    "random": random,
    "keep_top": keep_top,
    "facility_location": facility_location,
    "k_center": k_center,
    "keep_top of twice as many, then facility_location": best_then_location,
}


def recalls(train: Pairs, test: Pairs, two_sided: bool) -> tuple[float, float]:
    """R@1 and R@10 on the test pairs of a head in closed form, learned from the training pairs."""
    x, y = test.queries, test.gallery
    if two_sided:
        rows = [torch.from_numpy(standardised(r, r)) for r in (train.queries, train.gallery)]
        solutions = cca_solutions(*rows, torch.ones(len(rows[0])), DIM)
        of_x, of_y = (w.numpy() for w in list(solutions)[PENALTIES.index(PENALTY)])
        x = standardised(x, train.queries) @ of_x.T
        y = standardised(y, train.gallery) @ of_y.T
    else:
        penalty = PENALTY * len(train.queries)
        x = ridge_projection(train.queries, train.gallery, penalty=penalty)(x)
    both = retrieval_figures(unit(x), unit(y), test.clusters)
    r1, r10 = (float(np.mean([f[name] for f in both])) for name in ("r@1", "r@10"))
    return r1, r10


def standardised(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    return ((rows - by.mean(axis=0)) / (by.std(axis=0) + 1e-6)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--swapped", type=float, default=0.0, help="share of mismatched pairs")
    parser.add_argument("--planted", type=int, default=40_000, help="samples of the last table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, two_sided in (("ridge", False), ("canonical correlation", True)):
        print(f"\n{name}: R@1 and R@10, with the half-width of the 95% interval\n")
        print("| pairs | kept |", " | ".join(SELECTIONS), "|\n|" + "---|" * (2 + len(SELECTIONS)))
        for pairs in one_direction_each(options):
            for share in SHARES:
                print_row(pairs, share, two_sided, options)
    if options.planted:
        print_cost(options.planted)


def print_row(pairs: Pairs, share: float, two_sided: bool, options: argparse.Namespace) -> None:
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in SELECTIONS}
    for seed in range(options.draws):
        half, test = pairs.halves(seed)
        half, _ = swapped(half, options.swapped, seed)
        count = round(share * len(half.queries))
        for name, select in SELECTIONS.items():
            figures[name].append(recalls(half.take(select(half, count, seed)), test, two_sided))
    cells = []
    for each in figures.values():
        mean = np.mean(each, axis=0)
        width = 1.96 * np.std(each, axis=0, ddof=1) / np.sqrt(len(each))
        cells.append(", ".join(f"{m:.3f} ±{w:.3f}" for m, w in zip(mean, width, strict=True)))
    print(f"| {pairs.name} | {share:.0%}, {count} |", " | ".join(cells), "|", flush=True)


def planted(rows: int, dim: int = 128, topics: int = 200) -> list[np.ndarray]:
    """Two modalities with common topics."""
    rng = np.random.default_rng(0)
    topic = rng.integers(0, topics, rows)
    centres = rng.normal(size=(2, topics, dim))
    return [
        centred(c[topic] + rng.normal(size=(rows, dim)) * 1.5).astype(np.float32) for c in centres
    ]


def represented(vectors: list[np.ndarray], rows: np.ndarray) -> float:
    """The mean over samples and modalities of the similarity to the most similar chosen sample, by
    comparing all."""
    means = []
    for each in vectors:
        best = np.zeros(len(each), np.float32)
        for start in range(0, len(each), 4096):
            block = slice(start, start + 4096)
            best[block] = (each[block] @ each[rows].T).max(axis=1)
        means.append(best.clip(0).mean())
    return float(np.mean(means))


def print_cost(rows: int) -> None:
    print(
        "\n| samples | kept | method | cells of at most | processor seconds | represented"
        " | by random ones |"
    )
    print("|" + "---|" * 7)
    for count, most in ((4096, 4096), (4096, 2048), (4096, 512), (rows, 2048)):
        vectors = planted(count)
        kept = count // 10
        drawn = represented(vectors, np.random.default_rng(0).permutation(count)[:kept])
        for method in ("facility_location", "k_center"):
            start = time.process_time()
            chosen = choose(vectors, method, kept, most_of_cell=most)  # type: ignore[arg-type]
            seconds = time.process_time() - start
            share = represented(vectors, np.flatnonzero(chosen.chosen))
            print(
                f"| {count:,} | {kept:,} | {method} | {most:,} | {seconds:.1f} | {share:.3f}"
                f" | {drawn:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
