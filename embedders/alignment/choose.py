"""Choose by cross-validation how heads are learned, and estimate what more pairs would give.

The pairs are divided into folds. Heads are learned from all folds but one, and ranked by the mean
reciprocal rank of the pairs of that fold. Of the methods within one standard error of the best, the
simplest is taken (Breiman et al. 1984): with few pairs, differences are mostly chance.

The learning curve is learned in the same folds from growing subsets of their pairs. Its error, one
minus the recall, is extrapolated by a power law, a * pairs^-b, as the error of models mostly falls
with more data (Hestness et al. 2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embedders.alignment.align import align, held_out_figures
from embedders.alignment.groups import components, draw_groups, folds
from embedders.alignment.settings import Settings

STRUCTURE = 10.0  # the weight of the regulariser that is tried, as in the paper
_FOLDS = 5
_FEW_COMPONENTS = 64
_T_QUANTILE = 2.776  # 97.5% of Student's t with 4 degrees of freedom
_MOST_PAIRS = 5_000  # that methods are compared on, and of the learning curve
_STEPS = 4  # of the learning curve: each has twice as many pairs as the one before
_FEWEST = 20  # pairs of a step
MEASURE = "r@1"


@dataclass(frozen=True)
class Tried:
    """A method and its mean reciprocal rank.

    Attributes:
        name: of the method.
        mrr: of pairs that heads were not learned from, mean of the folds.
        error: its standard error over the folds.
        chosen: whether it is used.
    """

    name: str
    mrr: float
    error: float
    chosen: bool


@dataclass(frozen=True)
class CurvePoint:
    """The recall with a number of pairs.

    Attributes:
        pairs: that heads were learned from.
        recall: at 1, of the pairs of a fold, mean of the folds and directions.
        error: its standard error over the folds.
    """

    pairs: int
    recall: float
    error: float


@dataclass(frozen=True)
class LearningCurve:
    """What more pairs would give.

    Attributes:
        points: with growing numbers of pairs.
        gain: of the recall if there were twice as many pairs as now; None with fewer than three
            points.
        low, high: the 95% interval of the gain over the folds.
    """

    points: list[CurvePoint]
    gain: float | None = None
    low: float | None = None
    high: float | None = None


def methods(two_sided: bool, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings that are tried, by name, the simplest first."""
    closed: dict[str, dict[str, Any]] = {"cca": {"method": "cca"}}
    if not two_sided:  # with all components, one head by canonical correlation is that by ridge
        few = f"cca of {_FEW_COMPONENTS}"
        closed = {"ridge": {"method": "ridge"}, few: {"method": "cca", "dim": _FEW_COMPONENTS}}
    trained: dict[str, dict[str, Any]] = {
        "linear": {},
        f"linear, structure {STRUCTURE:g}": {"structure": STRUCTURE},
        "mlp": {"kind": "mlp"},
    }
    return {name: {**settings, **each} for name, each in (closed | trained).items()}


def choose(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    two_sided: bool = False,
    **settings: Any,
) -> tuple[dict[str, Any], list[Tried]]:
    """Choose how heads are learned.

    Args:
        x, y, groups, weights, two_sided: see `embedders.alignment.align.align`.
        settings: that all methods have in common.

    Returns:
        The settings of the chosen method, and what was tried, the simplest first.

    Raises:
        InputError: as `align` does, for the pairs of all folds but one.
    """
    x, y, labels, trust = _drawn(x, y, groups, weights, settings.get("seed", 0))
    tried = methods(two_sided, settings)
    values = np.array(
        [
            [
                _mean(_held_out(x, y, labels, trust, ~fold, fold, two_sided, each), "mrr")
                for fold in folds(labels, _FOLDS, Settings(**each).seed)
            ]
            for each in tried.values()
        ]
    )
    means, errors = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    best = int(means.argmax())
    chosen = int(np.flatnonzero(means >= means[best] - errors[best])[0])
    return list(tried.values())[chosen], [
        Tried(name, float(means[n]), float(errors[n]), n == chosen) for n, name in enumerate(tried)
    ]


def learning_curve(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    two_sided: bool = False,
    **settings: Any,
) -> LearningCurve:
    """Learn heads from growing numbers of pairs, and extrapolate their recall.

    Args:
        x, y, groups, weights, two_sided, settings: see `embedders.alignment.align.align`.

    Raises:
        InputError: as `align` does, for the pairs of all folds but one.
    """
    now, seed = len(x), Settings(**settings).seed
    x, y, labels, trust = _drawn(x, y, groups, weights, seed)
    sizes: list[list[int]] = []
    recalls: list[list[float]] = []
    queries = []
    for fold in folds(labels, _FOLDS, seed):
        pairs = int((~fold).sum())
        steps = [pairs // 2**n for n in reversed(range(_STEPS))]
        steps = [size for size in steps if size >= _FEWEST or size == pairs]
        own_sizes, own_recalls = [], []
        for size in steps:
            training = ~fold
            training[training] = draw_groups(labels[~fold], size, seed)
            figures = _held_out(x, y, labels, trust, training, fold, two_sided, settings)
            own_sizes.append(int(training.sum()))
            own_recalls.append(_mean(figures, MEASURE))
        sizes.append(own_sizes)
        recalls.append(own_recalls)
        queries.append(int(fold.sum()))
    steps_of_all = min(map(len, sizes))
    counts = np.array([each[-steps_of_all:] for each in sizes])
    values = np.array([each[-steps_of_all:] for each in recalls])
    errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    points = [
        CurvePoint(round(n), float(v), float(e))
        for n, v, e in zip(counts.mean(axis=0), values.mean(axis=0), errors, strict=True)
    ]
    if steps_of_all < 3:
        return LearningCurve(points)
    gains = [
        extrapolate(own, recall, 2 * now, q) - extrapolate(own, recall, now, q)
        for own, recall, q in zip(counts, values, queries, strict=True)
    ]
    width = _T_QUANTILE * float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
    gain = float(np.mean(gains))
    return LearningCurve(points, gain, max(gain - width, 0.0), gain + width)


def extrapolate(pairs: np.ndarray, recalls: np.ndarray, more: int, queries: int) -> float:
    """The recall with more pairs, by a power law of its error that is fitted by least squares.

    Args:
        pairs: (k,) numbers of pairs, at least two distinct ones.
        recalls: (k,) with these.
        more: the number of pairs that the recall is extrapolated to.
        queries: that recalls were measured on: an error of 0 counts as half a query.

    Returns:
        0 to 1.
    """
    error = np.log(np.maximum(1 - recalls, 0.5 / queries))
    slope, offset = np.polyfit(np.log(pairs), error, 1)
    if slope >= 0:  # no gain to be seen
        return float(np.mean(recalls))
    return float(1 - np.exp(offset + slope * np.log(more)))


def as_figures(tried: list[Tried], curve: LearningCurve) -> dict[str, Any]:
    """Both as JSON values, to be kept with a projection."""
    return {"methods": [asdict(each) for each in tried], "learning_curve": asdict(curve)}


def _held_out(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    labels: np.ndarray,
    trust: np.ndarray,
    training: np.ndarray,
    fold: np.ndarray,
    two_sided: bool,
    settings: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """The retrieval figures of a fold, of heads that are learned from some other pairs."""
    learned = align(
        x[training],
        [side[training] for side in y],
        groups=labels[training],
        weights=trust[training],
        two_sided=two_sided,
        **settings,
    )
    heads = [learned.x] if learned.y is None else [learned.x, learned.y]
    return held_out_figures(heads, x[fold], [side[fold] for side in y], labels[fold])


def _mean(figures: Mapping[str, Mapping[str, float]], name: str) -> float:
    return float(np.mean([each[name] for each in figures.values()])) if figures else 0.0


def _drawn(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    groups: np.ndarray | None,
    weights: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """At most `_MOST_PAIRS` pairs with their groups and weights."""
    labels = components(groups, len(x))
    trust = np.ones(len(x), np.float32) if weights is None else np.asarray(weights, np.float32)
    few = draw_groups(labels, _MOST_PAIRS, seed)
    return x[few], [side[few] for side in y], labels[few], trust[few]
