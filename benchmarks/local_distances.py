"""Compare the local rescalings of distances with NNN on pairs, over random halves.

    python -m benchmarks.local_distances FEATURES [--halves 20]

As in `benchmarks/gain.py`, half of the clusters of pairs is the bank, and the other half the test
with its own gallery. Every method is measured at each setting of its grid, and shown at the best
one in hindsight, which favours methods with more settings. Mutual proximity is not linear in the
similarity, so it cannot be compiled and is measured on the whole matrix (`dense_methods`).
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import dense_methods
from benchmarks.feature_sets import Pairs, read_file
from store.corrections import METHODS, evaluate, fit_many
from store.corrections.recipe import recipe
from store.metrics import paired_bootstrap
from store.metrics.retrieval import Relevant, first_ranks, relevant_ranks

COMPARED = ("none", "local_scaling", "nicdm", "dis_sim_local", "csls", "nnn")
DENSE = "mutual proximity"
Setting = tuple[str, str]  # a method and its parameters


def measure(pairs: Pairs, seed: int) -> dict[Setting, np.ndarray]:
    """The reciprocal ranks (m,) of the right answers by setting, on one split."""
    bank, test = pairs.halves(seed)
    settings = {
        (name, str(params)): recipe(name, params).spec
        for name in COMPARED
        for params in METHODS[name].grid
        if params.get("k", 1) <= len(bank.clusters)
    }
    right = [np.flatnonzero(test.clusters == c) for c in test.clusters]
    fitted = fit_many(
        settings.values(), gallery=test.gallery, query_bank=bank.queries, gallery_bank=bank.gallery
    )
    ranks = {
        setting: evaluate(c, test.queries, right).reciprocal_ranks
        for setting, c in zip(settings, fitted, strict=True)
    }
    relevant = Relevant.of(right, len(test.gallery))
    scores = dense_methods.mutual_proximity(
        test.queries @ test.gallery.T, bank.queries @ test.gallery.T
    )
    return {**ranks, (DENSE, ""): 1 / first_ranks(relevant_ranks(scores, relevant), relevant)}


def show(pairs: Pairs, halves: int) -> None:
    """Print one direction: R@1, and the reciprocal rank with its gain over raw."""
    ranks: dict[Setting, list[np.ndarray]] = defaultdict(list)
    groups = []
    for seed in range(halves):
        groups.append(pairs.halves(seed)[1].clusters)
        for setting, each in measure(pairs, seed).items():
            ranks[setting].append(each)
    joined = {setting: np.concatenate(each) for setting, each in ranks.items()}
    raw = joined["none", "{}"]
    for method in (*COMPARED, DENSE):
        settings = [setting for setting in joined if setting[0] == method]
        best = max(settings, key=lambda setting: joined[setting].mean())
        gain = paired_bootstrap(joined[best], raw, groups=np.concatenate(groups))
        cells = f"{(joined[best] == 1).mean():.3f} | {joined[best].mean():.3f}"
        interval = f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        print(f"| {' '.join(best)} | {cells} | {interval} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--halves", type=int, default=20)
    options = parser.parse_args()
    for pairs in read_file(options.features):
        print(f"\n{pairs.name}\n\n| method | R@1 | MRR | gain over raw |\n|---|---|---|---|")
        show(pairs, options.halves)


if __name__ == "__main__":
    main()
