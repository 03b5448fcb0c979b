"""The guard against planted hubs: recall and false alarms at budgets of alerts.

    isotrope demo demo
    python -m benchmarks.poisoned_hubs demo FEATURES

FEATURES is the file `clip_coco500.npy`. A planted item is an item mixed with the mean of 200 random
texts. Alarms are the items of the largest hubness, at most the budget, that are above `LIMIT`.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np

import isotrope
from pipelines.pairs.sentinels import K, Sentinels, nearest_floors
from store.arrow import as_matrix
from store.search.vector_layout import unfold
from tests.helpers.planted_hubs import planted_space
from tests.helpers.planted_release import unit_rows

BUDGETS, LIMIT, SEEDS, SENTINELS = (0.002, 0.004), 0.1, 10, 300


def poison(
    items: np.ndarray, queries: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The items with `count` planted ones in the place of random ones, and their rows."""
    rows = rng.choice(len(items), count, replace=False)
    poisoned = items.copy()
    for row in rows:
        seen = queries[rng.choice(len(queries), 200, replace=False)].mean(axis=0)
        poisoned[row] = unit_rows(0.5 * items[row] + unit_rows(seen))
    return poisoned, rows


def show(name: str, settings: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Print the rows of one data set: (items, queries, planted rows) for each seed."""
    items, queries, planted = settings[0]
    started = time.perf_counter()
    measured = []
    for items, queries, planted in settings:
        asking = queries[:SENTINELS]
        hubness = Sentinels(asking, nearest_floors(asking, items)).hubness(items)
        measured.append((hubness, np.isin(np.arange(len(items)), planted)))
    seconds = (time.perf_counter() - started) / len(settings)
    taken = np.mean([reached(*each) for each in settings])
    for budget in BUDGETS:
        most = math.ceil(budget * len(items))
        recall, false = [], []
        for hubness, is_planted in measured:
            alarms = np.argsort(-hubness, kind="stable")[:most]
            alarms = alarms[hubness[alarms] > LIMIT]
            recall.append(is_planted[alarms].sum() / min(most, is_planted.sum()))
            false.append((~is_planted[alarms]).mean() if len(alarms) else 0.0)
        natural = max(float(hubness[~is_planted].max()) for hubness, is_planted in measured)
        print(
            f"| {name} | {len(items):,} | {len(planted)} | {budget:.1%} | {np.mean(recall):.0%} |"
            f" {np.mean(false):.1%} | {natural:.3f} | {taken:.0%} | {1000 * seconds:.0f} |"
        )


def reached(items: np.ndarray, queries: np.ndarray, planted: np.ndarray) -> float:
    """The share of the queries that have a planted item in their top ten, without the guard."""
    best = np.argpartition(-(queries @ items.T), K, axis=1)[:, :K]
    return float(np.isin(best, planted).any(axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("features", type=Path)
    options = parser.parse_args()
    print("| items | number | planted | budget | recall | false alarms | natural | reach | ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    show("planted topics", [planted_space(seed, 10) for seed in range(SEEDS)])
    corpus = isotrope.open_corpus(options.corpus)
    vectors = {
        m: unfold(as_matrix(corpus.gallery_dataset(m).to_table(columns=["vector"])["vector"]), 704)
        for m in ("image", "text")
    }
    image, text = (unit_rows(rows) for rows in np.load(options.features))
    for name, items, queries in (
        ("demo, images", vectors["image"], vectors["text"]),
        ("COCO, images", image, text),
    ):
        settings = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(queries))
            items_now, rows = poison(items, queries[order[SENTINELS:]], 2, rng)
            settings.append((items_now, queries[order], rows))
        show(name, settings)


if __name__ == "__main__":
    main()
