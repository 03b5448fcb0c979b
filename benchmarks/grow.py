"""Measure what heads keep of old pairs and learn from new ones, by how they grow.

    python benchmarks/grow.py features/clip_coco500.npy features/clip_fashion1000.npz

Heads from text to image are learned from half of the first set, the old drops; then half of the
second set arrives. R@1, mean of both directions and of the draws, on the other halves. Replayed are
at most as many old pairs as there are new ones.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from feature_sets import Pairs, read_file

from embedders.alignment.align import align
from embedders.alignment.grow import PairSet, SplitSums, grow, reciprocal_ranks
from embedders.alignment.settings import Settings
from embedders.alignment.training import train
from embedders.projection import Projection

METHODS = {
    "ridge": Settings(method="ridge"),
    "cca, both sides": Settings(method="cca"),
    "linear": Settings(),
    "mlp": Settings(kind="mlp"),
}
PENALTIES = (1e-4, 1e-3, 1e-2)  # of L2-SP
HELD = 0.2


def from_text(path: Path) -> Pairs:
    """The direction of a file from texts to images."""
    return next(pairs for pairs in read_file(path) if pairs.name.endswith("text to image"))


def pair_set(pairs: Pairs, seed: int) -> PairSet:
    names = np.unique(pairs.clusters)
    held = np.random.default_rng(seed).random(len(names)) < HELD
    ones = np.ones(len(pairs.queries))
    is_held = held[np.searchsorted(names, pairs.clusters)]
    return PairSet(pairs.queries, [pairs.gallery], pairs.clusters, ones, is_held)


def learned(pairs: PairSet, settings: Settings, two_sided: bool) -> list[Projection]:
    result = align(
        pairs.x, pairs.anchors, groups=pairs.labels, two_sided=two_sided, **vars(settings)
    )
    return [result.x] if result.y is None else [result.x, result.y]


def on_new_alone(
    heads: list[Projection], new: PairSet, settings: Settings, two_sided: bool
) -> list[Projection]:
    """Naive fine-tuning: no replay, no penalty."""
    free = Settings(**{**vars(settings), "keep": 0.0})
    rows = [a.astype(np.float32) for a in (new.x, *new.anchors, new.weights)]
    x, *anchors, trust = rows
    return train(x, anchors, new.labels, trust, new.held, two_sided, free, start=heads)[0]


def recall(heads: list[Projection], pairs: Pairs) -> float:
    return float((reciprocal_ranks(heads, pair_set(pairs, 0)) == 1).mean())


def rows(old: Pairs, new: Pairs, name: str, settings: Settings, draws: int) -> list[list[str]]:
    two_sided = name.endswith("both sides")
    values: dict[str, list[tuple[float, float]]] = {}
    for seed in range(draws):
        (old_own, old_asked), (new_own, new_asked) = (p.halves(seed) for p in (old, new))
        known, arrived = pair_set(old_own, seed), pair_set(new_own, seed)
        heads = learned(known, settings, two_sided)
        kept = np.random.default_rng(seed).permutation(len(known.x))[: len(arrived.x)]
        replay = known.take(np.sort(kept))
        found = {
            "before": heads,
            "learned again from all": learned(known + arrived, settings, two_sided),
        }
        if settings.method == "contrastive":
            found["new pairs alone"] = on_new_alone(heads, arrived, settings, two_sided)
            for keep in PENALTIES:
                own = Settings(**{**vars(settings), "keep": keep})
                grown = grow(heads, replay, arrived, settings=own)
                found[f"replay, penalty {keep:g}"] = grown.heads
        else:
            found["new pairs alone"] = learned(arrived, settings, two_sided)
            sums = SplitSums.of(known, two_sided)
            found["sums"] = grow(heads, replay, arrived, settings=settings, sums=sums).heads
        for how, each in found.items():
            values.setdefault(how, []).append((recall(each, old_asked), recall(each, new_asked)))
    return [
        [name, how, *(f"{mean:.3f} ±{1.96 * error:.3f}" for mean, error in _means(each))]
        for how, each in values.items()
    ]


def _means(values: list[tuple[float, float]]) -> list[tuple[float, float]]:
    array = np.array(values)
    error = array.std(axis=0, ddof=1) / np.sqrt(len(array))
    return list(zip(array.mean(axis=0).tolist(), error.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    old, new = from_text(options.old), from_text(options.new)
    print("| head | how it grows | R@1, old pairs | R@1, new pairs |\n|---|---|---|---|")
    for name, settings in METHODS.items():
        for row in rows(old, new, name, settings, options.draws):
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
