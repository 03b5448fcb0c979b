"""Measure how well mismatched pairs are found: `text_image_mismatch` against the published mixture.

    python benchmarks/mismatch.py features/*.np[yz] --stamps demo

Captions of some pairs are swapped among each other. A pair counts as found if its probability of a
mismatch is above 0.5. "two free Gaussians" is scikit-learn's mixture on the same corrected
similarities, as NCR fits it. Means over five draws of the pairs that are swapped.
"""

import argparse

import numpy as np
from feature_sets import Pairs, add_arguments, one_direction_each
from sklearn.mixture import GaussianMixture

from pipelines.pairs.reference_bank import Parts, ReferenceBank

SHARES = (0.0, 0.05, 0.2, 0.4)


def probabilities(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Corrected similarities and probabilities of a mismatch, as in the stage `pairs`."""
    ids = np.arange(len(pairs.queries)).astype(str)
    sides = Parts(ids, pairs.queries), Parts(ids, pairs.gallery)
    bank = ReferenceBank(*sides)
    bank.fit()
    signals = bank.compare(*sides)
    return signals["corrected"], signals["mismatch"]


def free_mixture(values: np.ndarray) -> np.ndarray:
    """The posterior of the lower of two Gaussians."""
    mixture = GaussianMixture(2, reg_covar=1e-6, n_init=5, random_state=0).fit(values[:, None])
    return mixture.predict_proba(values[:, None])[:, np.argmin(mixture.means_)]


def swapped(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, np.ndarray]:
    """The pairs with a share of the queries swapped, and which those are."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pairs.queries), round(share * len(pairs.queries)), replace=False)
    queries, is_wrong = pairs.queries.copy(), np.zeros(len(pairs.queries), bool)
    if len(rows):
        queries[rows] = pairs.queries[np.roll(rows, 1)]
        is_wrong[rows] = pairs.clusters[rows] != pairs.clusters[np.roll(rows, 1)]
    return Pairs(pairs.name, queries, pairs.gallery, pairs.clusters), is_wrong


def figures(probability: np.ndarray, is_wrong: np.ndarray) -> list[float]:
    """Precision, recall, and the share of pairs that are called a mismatch."""
    found = probability > 0.5
    right = (found & is_wrong).sum()
    return [right / max(found.sum(), 1), right / max(is_wrong.sum(), 1), found.mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    sets = one_direction_each(parser.parse_args())
    print(
        "| pairs | swapped | precision | recall | called mismatches"
        " | free: precision | recall | called mismatches |\n|" + "---|" * 8
    )
    for pairs in sets:
        for share in SHARES:
            rows = []
            for seed in range(5):
                planted, is_wrong = swapped(pairs, share, seed)
                corrected, ours = probabilities(planted)
                rows.append(figures(ours, is_wrong) + figures(free_mixture(corrected), is_wrong))
            means = np.mean(rows, axis=0)
            cells = [f"{m:.3f}" for m in means]
            if not share:
                cells[0] = cells[1] = cells[3] = cells[4] = ""
            print(f"| {pairs.name} | {share:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
