"""Measure an alignment that is learned from pairs of which some are mismatched.

    python benchmarks/align_mismatches.py features/*.np[yz] --stamps demo

A head is learned from one half of the pairs, among which a share of the partners is swapped, and
asked on the other half, which is clean: R@1, mean of both directions and draws. "Weighted" is
`mismatch: true` of an aligned tower; "without them" is learned from the right pairs alone.
"""

import argparse

import numpy as np
from feature_sets import Pairs, add_arguments, one_direction_each
from mismatch import SHARES, swapped

from embedders.alignment.align import align, retrieval_figures
from pipelines.vectors.pair_weights import pair_weights

_SETTINGS = {"epochs": 60}


def recall(train: Pairs, test: Pairs, kind: str, weights: np.ndarray | None) -> float:
    """R@1 on the test pairs of a head that is learned from the training pairs."""
    learned = align(
        train.queries,
        [train.gallery],
        groups=train.clusters,
        weights=weights,
        kind=kind,
        **_SETTINGS,
    )
    both = retrieval_figures(learned.x(test.queries), test.gallery, test.clusters)
    return float(np.mean([figures["r@1"] for figures in both]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--kind", default="linear", help="of the head")
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    print(
        "| pairs | learned from | swapped | equal weights | weighted | without them"
        " | weight of swapped | of others |\n|" + "---|" * 8
    )
    for pairs in one_direction_each(options):
        for share in SHARES:
            rows = []
            for seed in range(options.draws):
                half, test = pairs.halves(seed)
                train, is_wrong = swapped(half, share, seed)
                weights = pair_weights(
                    train.queries, [train.gallery], groups=train.clusters, kind=options.kind
                )
                equal = recall(train, test, options.kind, None)
                right = train.take(np.flatnonzero(~is_wrong))
                without = recall(right, test, options.kind, None) if is_wrong.any() else equal
                rows.append(
                    [
                        equal,
                        recall(train, test, options.kind, weights),
                        without,
                        weights[is_wrong].mean() if is_wrong.any() else np.nan,
                        weights[~is_wrong].mean(),
                    ]
                )
            cells = [f"{value:.3f}" for value in np.mean(rows, axis=0)]
            count = len(half.queries)
            print(f"| {pairs.name} | {count} | {share:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
