"""Learn heads further from new pairs, and compare them before and after on pairs held out.

A head in closed form is solved from the sums of the old and of the new pairs, which equals learning
it from all of them (`embedders.alignment.pair_sums`). A trained head goes on from where it was: on
the new pairs and on old ones that are replayed, and with a penalty on the distance from where it
was (L2-SP). Training on the new pairs alone would forget the old ones (GrowCLIP, Deng et al. 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedders.alignment.align import held_out_figures
from embedders.alignment.groups import folds
from embedders.alignment.pair_sums import PairSums, mean_anchor, solve
from embedders.alignment.settings import CLOSED_FORMS, Settings
from embedders.projection import Projection
from store.errors import InputError

_Z = 1.96  # of a 95% interval


@dataclass(frozen=True)
class PairSet:
    """Pairs of some drops.

    Attributes:
        x: (n, d_x) features.
        anchors: (n, d_y) each; a row of NaN is missing.
        labels: (n,) int64; pairs of one label are right answers to each other.
        weights: (n,) 0 to 1.
        held: (n,) bool, the pairs that are held out. The same pairs each time.
    """

    x: np.ndarray
    anchors: list[np.ndarray]
    labels: np.ndarray
    weights: np.ndarray
    held: np.ndarray

    def take(self, rows: np.ndarray) -> "PairSet":
        """Some of the pairs, by index or mask."""
        anchors = [anchor[rows] for anchor in self.anchors]
        return PairSet(
            self.x[rows], anchors, self.labels[rows], self.weights[rows], self.held[rows]
        )

    def __add__(self, other: "PairSet") -> "PairSet":
        """Both sets; labels of the other one are made different."""
        shift = self.labels.max(initial=-1) + 1 - other.labels.min(initial=0)
        pairs = zip(self.anchors, other.anchors, strict=True)
        return PairSet(
            np.concatenate([self.x, other.x]),
            [np.concatenate(pair) for pair in pairs],
            np.concatenate([self.labels, other.labels + shift]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.held, other.held]),
        )


@dataclass(frozen=True)
class SplitSums:
    """Sums of the pairs that are learned from, and of those that are held out."""

    learned: PairSums
    held: PairSums

    @classmethod
    def of(cls, pairs: PairSet, two_sided: bool) -> "SplitSums":
        """Those of some pairs; pairs without an anchor do not count."""
        y = pairs.anchors[0] if two_sided else mean_anchor(pairs.anchors)
        present = np.isfinite(y).all(axis=1)
        learned, held = (
            PairSums.of(pairs.x[rows], y[rows], pairs.weights[rows])
            for rows in (present & ~pairs.held, present & pairs.held)
        )
        return cls(learned, held)

    def __add__(self, other: "SplitSums") -> "SplitSums":
        return SplitSums(self.learned + other.learned, self.held + other.held)

    @property
    def all(self) -> PairSums:
        """The sums of all pairs."""
        return self.learned + self.held


@dataclass(frozen=True)
class Comparison:
    """Heads before and after, on held-out pairs of some drops, ranked among each other.

    Attributes:
        pairs: how many.
        before, after: (recall at 1, mean reciprocal rank), means of both directions.
        low, high: 95% interval of the mean change of the reciprocal rank of a pair.
    """

    pairs: int
    before: tuple[float, float]
    after: tuple[float, float]
    low: float
    high: float

    @property
    def loses(self) -> bool:
        """Whether the head after is surely worse."""
        return self.high < 0


@dataclass(frozen=True)
class Grown:
    """What was learned from new pairs.

    Attributes:
        heads: of x and, two-sided, of y.
        sums: of all pairs, old and new; None for trained heads.
        old, new: comparisons on pairs of the old drops and of the new ones.
        figures: as `embedders.alignment.align.AlignmentResult.figures`, on the pairs of both.
    """

    heads: list[Projection]
    sums: SplitSums | None
    old: Comparison
    new: Comparison
    figures: dict[str, Any]


def grow(
    heads: Sequence[Projection],
    replay: PairSet,
    new: PairSet,
    *,
    settings: Settings,
    sums: SplitSums | None = None,
) -> Grown:
    """Learn further from new pairs.

    For the comparison, heads in closed form are solved without the held-out pairs, before and
    after; the result is solved from all. Half of the held-out pairs choose the penalty or the
    epoch, and the others are compared on.

    Args:
        heads: that were learned before: of x and, two-sided, of y.
        replay: a random draw of the old pairs.
        new: the new pairs.
        settings: by which the heads were learned.
        sums: of the old pairs; needed by `CLOSED_FORMS`.

    Raises:
        InputError: sums are missing, or too few pairs are held out.
    """
    two_sided = len(heads) == 2
    chosen, asked = zip(*(_halves(each, settings.seed) for each in (replay, new)), strict=True)
    if settings.method in CLOSED_FORMS:
        if sums is None:
            raise InputError("heads in closed form grow from the sums of the pairs they know")
        grown = sums + SplitSums.of(new, two_sided)
        before, _ = _best(sums.learned, [chosen[0]], two_sided, settings)
        epoch = 0
        after, number = _best(grown.learned, list(chosen), two_sided, settings)
        result = list(solve(grown.all, two_sided, settings))[number]
    else:
        from embedders.alignment.training import train

        grown, before = None, list(heads)
        learned = [each.take(~each.held) for each in (replay, new)]
        both = learned[0] + learned[1] + (chosen[0] + chosen[1])
        x, anchors = both.x.astype(np.float32), [a.astype(np.float32) for a in both.anchors]
        trust = both.weights.astype(np.float32)
        after, _, epoch = train(
            x, anchors, both.labels, trust, both.held, two_sided, settings, start=heads
        )
        result = after
    of_old, of_new = (compare(before, after, each) for each in asked)
    both = asked[0] + asked[1]
    learned_from = (~np.concatenate([replay.held, new.held])).sum()
    figures = {
        "pairs": int(learned_from if grown is None else grown.learned.plain.weight),
        "validation_pairs": len(both.x),
        "best_epoch": epoch,
        **held_out_figures(after, both.x, both.anchors, both.labels),
    }
    return Grown(result, grown, of_old, of_new, figures)


def compare(
    before: Sequence[Projection], after: Sequence[Projection], pairs: PairSet
) -> Comparison:
    """Compare heads on pairs that they were not learned from."""
    ranks = [reciprocal_ranks(heads, pairs) for heads in (before, after)]
    change = (ranks[1] - ranks[0]).mean(axis=0)
    error = _Z * change.std() / np.sqrt(max(len(change), 1))
    (first, then) = (((r == 1).mean(), r.mean()) for r in ranks)
    mean = float(change.mean())
    return Comparison(
        len(change),
        (float(first[0]), float(first[1])),
        (float(then[0]), float(then[1])),
        mean - float(error),
        mean + float(error),
    )


def reciprocal_ranks(heads: Sequence[Projection], pairs: PairSet) -> np.ndarray:
    """Of each pair in both directions, (2, n), among these pairs.

    With several anchors, the other side is the unit mean of those that are present.
    """
    x = heads[0](pairs.x)
    y = heads[1](pairs.anchors[0]) if len(heads) == 2 else mean_anchor(pairs.anchors)
    right = pairs.labels[:, None] == pairs.labels
    ranks = []
    for scores in (x @ y.T, y @ x.T):
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        ranks.append(1 / (1 + (scores > best).sum(axis=1)))
    return np.array(ranks)


def _best(
    sums: PairSums, chosen: list[PairSet], two_sided: bool, settings: Settings
) -> tuple[list[Projection], int]:
    """The heads of the penalty that ranks held-out pairs best, and its number."""
    solved = list(solve(sums, two_sided, settings))
    total = sum(len(pairs.x) for pairs in chosen)
    mrr = [
        sum(reciprocal_ranks(heads, p).mean() * len(p.x) for p in chosen) / total
        for heads in solved
    ]
    best = int(np.flatnonzero(np.isclose(mrr, max(mrr)))[-1])  # of equals, the largest penalty
    return solved[best], best


def _halves(pairs: PairSet, seed: int) -> tuple[PairSet, PairSet]:
    """Two halves of the held-out pairs that have an anchor."""
    present = np.isfinite(np.stack(pairs.anchors)).all(axis=2).any(axis=0)
    held = pairs.take(pairs.held & present)
    if len(np.unique(held.labels)) < 2:
        raise InputError(
            f"{len(held.x)} held-out pairs are too few to compare heads on: add more pairs, or"
            " learn the head anew"
        )
    first, second = folds(held.labels, 2, seed)
    return held.take(first), held.take(second)
