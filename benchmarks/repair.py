"""Measure how many of the captions that `text_repair` proposes are right, by stated precision.

    python benchmarks/repair.py features/*.np[yz] --stamps demo

Captions of 20% of the pairs are swapped; then the same with half of the swapped images' captions
removed from the corpus, as where captions come from elsewhere. A proposal is right if it is the
image's own caption or one of the same cluster. Means over five draws.
"""

import argparse

import numpy as np
from feature_sets import Pairs, add_arguments, one_direction_each
from mismatch import probabilities, swapped

from pipelines.pairs.repair import CaptionMatcher

SHARE = 0.2
STATED = (0.5, 0.7, 0.9, 0.95)


def proposals(pairs: Pairs, absent: float, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Stated precision of each proposal, whether it is right, and how many captions were swapped.

    Pairs are (captions, images); the captions are swapped.
    """
    planted, is_wrong = swapped(pairs, SHARE, seed)
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pairs.queries), round(SHARE * len(pairs.queries)), replace=False)
    source = np.arange(len(pairs.queries))
    source[rows] = np.roll(rows, 1)
    hidden = rows[rng.random(len(rows)) < absent]
    present = ~np.isin(source, hidden)  # pairs whose caption is in the corpus
    _, probability = probabilities(planted)
    flagged = np.flatnonzero(probability > 0.5)
    donors = flagged[present[flagged]]
    matching = rng.permutation(np.flatnonzero(probability <= 0.5))
    matcher = CaptionMatcher(planted.gallery, planted.queries)
    calibration = matcher.calibrate(planted.gallery[matching], planted.queries[matching])
    assert calibration is not None
    row_of = {row: i for i, row in enumerate(donors.tolist())}
    own = np.array([row_of.get(row, -1) for row in flagged.tolist()])
    best, margin = matcher.best(planted.gallery[flagged], planted.queries[donors], own)
    right = pairs.clusters[source[donors[best]]] == pairs.clusters[flagged]
    return calibration(margin), right, int(is_wrong.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    sets = one_direction_each(parser.parse_args())
    print(
        "| pairs | captions that exist | stated precision of at least | precision"
        " | right, of all swapped | repaired, of all swapped |\n|" + "---|" * 6
    )
    for pairs in sets:
        for absent in (0.0, 0.5):
            draws = [proposals(pairs, absent, seed) for seed in range(5)]
            for stated in STATED:
                right = sum(int((r & (p >= stated)).sum()) for p, r, _ in draws)
                count = sum(int((p >= stated).sum()) for p, _, _ in draws)
                total = sum(n for _, _, n in draws)
                precision = f"{right / count:.3f}" if count else ""
                print(
                    f"| {pairs.name} | {1 - absent:.0%} | {stated} | {precision}"
                    f" | {right / total:.3f} | {count / total:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
