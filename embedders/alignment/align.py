"""Alignment: learns the projections that bring frozen encoders into one space, from pairs.

It works on plain arrays of features: the encoders run once, before, and are never changed.
"Scaling up Projectors" (SAIL, Zhang et al. 2024) shows that small heads suffice, STRUCTURE (Groeger
et al. 2025) that some thousand pairs do, OneEncoder (Faye et al. 2024) that one modality after
another can join a space that is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedders.alignment.settings import Settings
from embedders.projection import Projection
from store.arrays import connected_components
from store.corrections import fit
from store.corrections.evaluate import evaluate
from store.errors import InputError

FIGURES = ("r@1", "r@5", "r@10", "mrr", "median_rank")


@dataclass(frozen=True)
class Aligned:
    """What was learned from pairs (x, y).

    `y` is None where its space was kept. `figures` holds `pairs`, `validation_pairs`,
    `best_epoch`, and by direction (`x->y`, `y->x`; `y0` and on for several anchors) the figures
    on the validation pairs. `history` has a row an epoch: loss and validation MRR.
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
    two_sided: bool = False,
    **settings: Any,
) -> Aligned:
    """Learn to project x to y, or both into a space of their own.

    The same arguments give the same heads on the same number of threads.

    Args:
        x: (n, d_x) features, whatever their scale.
        y: (n, d_y) features. One-sided, these are rows of the space that x is to join, or several
            such arrays of one width, say of two modalities; a row of NaN has no such part.
        groups: (n,) integers, or several such arrays, of what pairs have in common (an image, a
            caption, a duplicate cluster): pairs that share a value in any of them, directly or
            through others, are never wrong answers to each other and never straddle the split.
        settings: see `Settings`.

    Raises InputError: arguments do not fit together, are not finite, or leave no group for
    training or for validation.
    """
    from embedders.alignment.training import train

    options = Settings(**settings)
    rows = _matrix(x, "x")
    anchors = [_anchor(a, len(rows)) for a in (y if isinstance(y, list | tuple) else [y])]
    if len({a.shape[1] for a in anchors}) > 1:
        raise InputError(f"the anchors differ in width: {[a.shape[1] for a in anchors]}")
    if two_sided and (len(anchors) > 1 or np.isnan(anchors[0]).any()):
        raise InputError("two-sided alignment takes one y, without missing rows")
    joined = components(groups, len(rows))
    validation = split(joined, options.validation, options.seed)
    heads, history, best = train(rows, anchors, joined, validation, two_sided, options)
    figures: dict[str, Any] = {
        "pairs": int((~validation).sum()),
        "validation_pairs": int(validation.sum()),
        "best_epoch": best,
    }
    projected = heads[0](rows[validation])
    for number, anchor in enumerate(anchors):
        name = "y" if len(anchors) == 1 else f"y{number}"
        held = anchor[validation]
        there = np.isfinite(held).all(axis=1)
        if not there.any():
            continue
        right = (heads[1] if two_sided else _as_unit)(held[there])
        both = retrieval(projected[there], right, joined[validation][there])
        figures |= {f"x->{name}": both[0], f"{name}->x": both[1]}
    return Aligned(heads[0], heads[1] if two_sided else None, figures, history)


def retrieval(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of x -> y and y -> x for unit rows, pair by pair: r@1, r@5, r@10, mrr, median_rank.

    The right answer is the query's own row; with `groups`, any row of its group.
    """
    relevant: Any = np.arange(len(x))
    if groups is not None:
        relevant = [np.flatnonzero(groups == group) for group in groups]
    found = []
    for queries, gallery in ((x, y), (y, x)):
        raw = fit("none", gallery=gallery, query_bank=queries[:1], gallery_bank=gallery[:1])
        figures = evaluate(raw, queries, relevant).figures()
        found.append({name: float(figures[name]) for name in FIGURES})
    return found[0], found[1]


def components(groups: np.ndarray | Sequence[np.ndarray] | None, pairs: int) -> np.ndarray:
    """(n,) int64: equal for pairs that share a value in any of `groups`, directly or through
    others. Raises InputError where an array is not (n,) integers."""
    if groups is None:
        return np.arange(pairs)
    columns = [groups] if isinstance(groups, np.ndarray) else list(groups)
    values, nodes = [np.empty(0, np.int64)], pairs  # a node a pair, then a node a distinct value
    for column in map(np.asarray, columns):
        if column.shape != (pairs,) or column.dtype.kind not in "iu":
            raise InputError(
                f"groups must be integers, one for each of {pairs} pairs,"
                f" not {column.shape} of {column.dtype}"
            )
        distinct, inverse = np.unique(column, return_inverse=True)
        values.append(nodes + inverse)
        nodes += len(distinct)
    pair = np.tile(np.arange(pairs), len(columns))
    return connected_components(pair, np.concatenate(values), nodes)[:pairs]


def split(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(n,) True for about `share` of the pairs, whole groups of them, drawn at random.

    Raises InputError where that leaves either side empty.
    """
    names, counts = np.unique(groups, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.cumsum(counts[order]) - counts[order]
    chosen = names[order[before + counts[order] <= max(share * len(groups), 1)]]
    held = np.isin(groups, chosen)
    if held.all() or not held.any():
        raise InputError(f"{len(names)} groups of pairs are too few to hold out {share:g} of them")
    return held


def _matrix(rows: Any, name: str) -> np.ndarray:
    found = np.asarray(rows, np.float32)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise InputError(f"{name} must be finite rows (n, d), not an array of {found.shape}")
    return found


def _anchor(rows: Any, pairs: int) -> np.ndarray:
    found = np.asarray(rows, np.float32)
    if found.ndim != 2 or len(found) != pairs:
        raise InputError(f"y must be {pairs} rows, as x, not an array of {found.shape}")
    missing = np.isnan(found).all(axis=1)
    if not np.isfinite(found[~missing]).all() or missing.all():
        raise InputError("y must be finite rows; a row that is missing is NaN throughout")
    return found


def _as_unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
