"""Learn from pairs the projections that bring frozen encoders into one space.

The functions take plain arrays of features: the encoders run once, before, and are never changed.
"Scaling up Projectors" (SAIL, Zhang et al. 2024) shows that small heads suffice, STRUCTURE (Groeger
et al. 2025) that some thousand pairs do, and OneEncoder (Faye et al. 2024) that one modality after
another can join a space that is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedders.alignment.groups import components, hold_out
from embedders.alignment.settings import CLOSED_FORMS, Settings
from embedders.projection import Projection
from store.corrections import fit
from store.corrections.evaluate import evaluate
from store.errors import InputError

FIGURES = ("r@1", "r@5", "r@10", "mrr", "median_rank")


@dataclass(frozen=True)
class AlignmentResult:
    """The result of an alignment of pairs (x, y).

    Attributes:
        x: the projection of x.
        y: the projection of y; None if the space of y was kept.
        figures: `pairs`, `validation_pairs` and `best_epoch`; and for each direction (`x->y` and
            `y->x`; with several anchors `x->y0`, `y0->x`, `x->y1`, ...) the retrieval figures on
            the validation pairs. A head in closed form is solved without these pairs for the
            figures, and with all pairs for the result.
        history: for each epoch its number, loss and validation MRR.
    """

    x: Projection
    y: Projection | None
    figures: dict[str, Any]
    history: list[dict[str, float]]


def align(
    x: np.ndarray,
    y: np.ndarray | Sequence[np.ndarray],
    *,
    groups: np.ndarray | Sequence[np.ndarray] | None = None,
    weights: np.ndarray | None = None,
    two_sided: bool = False,
    **settings: Any,
) -> AlignmentResult:
    """Learn to project x into the space of y, or both into a new space.

    The same arguments give the same heads on the same number of threads.

    Args:
        x: (n, d_x) features of any scale.
        y: (n, d_y) features. One-sided, these are rows of the space that x joins, or several such
            arrays of one width, for example of two modalities; a row of NaN is missing.
        groups: (n,) integers, or several such arrays, of what pairs have in common (an image, a
            caption, a duplicate cluster). Pairs that share a value in any of them, directly or
            through others, do not count as wrong answers to each other, and are on one side of
            the validation split.
        weights: (n,) 0 to 1: the probability that the two rows of a pair belong together. It is
            the pair's weight in training and in the choice of the best epoch. None: 1 for all.
        two_sided: learn a projection of y too.
        settings: see `embedders.alignment.settings.Settings`.

    Raises:
        InputError: arguments do not fit together, are not finite, or leave no group for training
            or for validation.
    """
    from embedders.alignment.linear_start import fit_closed_form
    from embedders.alignment.training import train

    options = Settings(**settings)
    x = _check_features(x)
    anchors = [_check_anchor(a, len(x)) for a in (y if isinstance(y, list | tuple) else [y])]
    if len({a.shape[1] for a in anchors}) > 1:
        raise InputError(
            f"the anchors differ in width: {[a.shape[1] for a in anchors]};"
            " all must be rows of one space"
        )
    if two_sided and (len(anchors) > 1 or np.isnan(anchors[0]).any()):
        raise InputError("two-sided alignment takes one y, without missing rows")
    if two_sided and options.method == "ridge":
        raise InputError("method='ridge' maps x into the space of y: two-sided, use 'cca'")
    labels = components(groups, len(x))
    trust = _check_weights(weights, len(x))
    held_out = hold_out(labels, options.validation, options.seed)
    history: list[dict[str, float]] = []
    best_epoch = 0
    if options.method in CLOSED_FORMS:
        judged, heads = (
            fit_closed_form(
                x[pairs],
                [a[pairs] for a in anchors],
                labels[pairs],
                trust[pairs],
                two_sided,
                options,
            )
            for pairs in (~held_out, np.ones(len(x), bool))
        )
    else:
        heads, history, best_epoch = train(x, anchors, labels, trust, held_out, two_sided, options)
        judged = heads
    figures: dict[str, Any] = {
        "pairs": int((~held_out).sum()),
        "validation_pairs": int(held_out.sum()),
        "best_epoch": best_epoch,
    }
    sides = [anchor[held_out] for anchor in anchors]
    figures |= held_out_figures(judged, x[held_out], sides, labels[held_out])
    return AlignmentResult(heads[0], heads[1] if two_sided else None, figures, history)


def held_out_figures(
    heads: Sequence[Projection], x: np.ndarray, anchors: Sequence[np.ndarray], labels: np.ndarray
) -> dict[str, dict[str, float]]:
    """The retrieval figures of pairs that the heads were not learned from, by direction.

    Args:
        heads: of x and, two-sided, of y.
        x: (n, d_x) features.
        anchors: (n, d_y) each; a row of NaN is missing.
        labels: (n,) of groups.
    """
    projected = heads[0](x)
    figures: dict[str, dict[str, float]] = {}
    for number, anchor in enumerate(anchors):
        name = "y" if len(anchors) == 1 else f"y{number}"
        present = np.isfinite(anchor).all(axis=1)
        if not present.any():
            continue
        targets = (heads[1] if len(heads) == 2 else _as_unit)(anchor[present])
        forward, backward = retrieval_figures(projected[present], targets, labels[present])
        figures |= {f"x->{name}": forward, f"{name}->x": backward}
    return figures


def retrieval_figures(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Retrieval figures of paired unit rows: r@1, r@5, r@10, mrr and median_rank.

    Args:
        x: (n, d) unit rows.
        y: (n, d) unit rows. The right answer to a row of x is the same row of y, and the reverse.
        groups: (n,) labels. With them, every row of the query's group is a right answer.

    Returns:
        The figures of x -> y, and those of y -> x.
    """
    relevant: Any = np.arange(len(x))
    if groups is not None:
        relevant = [np.flatnonzero(groups == group) for group in groups]
    forward, backward = (
        evaluate(
            fit("none", gallery=gallery, query_bank=queries[:1], gallery_bank=gallery[:1]),
            queries,
            relevant,
        ).figures()
        for queries, gallery in ((x, y), (y, x))
    )
    return (
        {name: float(forward[name]) for name in FIGURES},
        {name: float(backward[name]) for name in FIGURES},
    )


def _check_features(rows: Any) -> np.ndarray:
    features = np.asarray(rows, np.float32)
    if features.ndim != 2 or not features.size or not np.isfinite(features).all():
        raise InputError(
            f"x must be finite rows (n, d) without NaN, not an array of shape {features.shape}"
        )
    return features


def _check_anchor(rows: Any, pairs: int) -> np.ndarray:
    anchor = np.asarray(rows, np.float32)
    if anchor.ndim != 2 or len(anchor) != pairs:
        raise InputError(f"y must be {pairs} rows, as x is, not an array of shape {anchor.shape}")
    missing = np.isnan(anchor).all(axis=1)
    if not np.isfinite(anchor[~missing]).all() or missing.all():
        raise InputError("y must be finite rows; in a row that is missing, every value is NaN")
    return anchor


def _check_weights(weights: np.ndarray | None, pairs: int) -> np.ndarray:
    if weights is None:
        return np.ones(pairs, np.float32)
    checked = np.asarray(weights, np.float32)
    if checked.shape != (pairs,) or not ((checked >= 0) & (checked <= 1)).all():
        raise InputError(f"weights must be {pairs} numbers from 0 to 1, one for each pair")
    return checked


def _as_unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
