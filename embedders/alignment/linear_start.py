"""Linear heads in closed form: where training starts, and heads of their own.

With few pairs, these are hard to beat: nothing is left to chance, and the only choice is a penalty.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from embedders.alignment.closed_form import PENALTIES, cca_solutions, ridge_solutions
from embedders.alignment.groups import folds
from embedders.alignment.heads import Head, make_heads, validation_mrr
from embedders.alignment.settings import Settings
from embedders.projection import Projection

_DRAWS = 3  # of halves
# Weights and offset of the linear map of each head's standardised rows.
Maps = list[tuple[torch.Tensor, torch.Tensor]]


@torch.no_grad()
def fit_closed_form(
    x: np.ndarray,
    anchors: list[np.ndarray],
    groups: np.ndarray,
    weights: np.ndarray,
    two_sided: bool,
    settings: Settings,
) -> list[Projection]:
    """Solve `settings.method` with the penalty that ranks pairs best that it was not solved with.

    It is chosen by cross-validation in halves, drawn several times: with few pairs, a smaller part
    would have so few that almost every head ranks them well.

    Args:
        x: (n, d_x) float32.
        anchors: (n, d_y) float32 each; a row of NaN is missing.
        groups: (n,) labels; a group is in one fold.
        weights: (n,) float32, 0 to 1.
        two_sided: solve for a head of the anchor too.
        settings: of the alignment.

    Returns:
        The head of x (and, two-sided, that of y).
    """
    rows, labels, trust = map(torch.from_numpy, (x, groups, weights))
    sides = [torch.from_numpy(anchor) for anchor in anchors]
    mrr = np.zeros(len(PENALTIES))
    for seed in range(_DRAWS):
        for half in folds(groups, 2, settings.seed + seed):
            training, held_out = (torch.from_numpy(np.flatnonzero(part)) for part in (~half, half))
            own = [side[training] for side in sides]
            heads, maps = _solved(rows[training], own, trust[training], two_sided, settings)
            for number, each in enumerate(maps):
                set_maps(heads, each)
                mrr[number] += validation_mrr(
                    heads, rows, sides, labels, trust, held_out, two_sided
                )
    heads, maps = _solved(rows, sides, trust, two_sided, settings)
    set_maps(heads, maps[int(np.flatnonzero(mrr == mrr.max())[-1])])  # of equals, the largest one
    return [head.projection() for head in heads]


def _solved(
    x: torch.Tensor,
    sides: list[torch.Tensor],
    trust: torch.Tensor,
    two_sided: bool,
    settings: Settings,
) -> tuple[list[Head], list[Maps]]:
    heads = make_heads(x, sides[0], two_sided, settings)
    for head in heads:
        head.eval()
    return heads, closed_form_maps(heads, x, sides, trust, settings.method)


@torch.no_grad()
def closed_form_maps(
    heads: list[Head],
    x: torch.Tensor,
    sides: list[torch.Tensor],
    trust: torch.Tensor,
    method: str = "ridge",
) -> list[Maps]:
    """The linear maps of the heads in closed form, for each of `PENALTIES`.

    Args:
        heads: one, by ridge regression or canonical correlation (`method`); or two, by canonical
            correlation. One head by canonical correlation maps x on the `dim` strongest components,
            and from there into the space of y, as a regression of reduced rank does.
        x: (n, d_x) training rows.
        sides: (n, d_y) each; a row of NaN is missing.
        trust: (n,) weights of the pairs.
        method: of a single head.
    """
    if len(heads) == 2:
        left, right = heads[0].standardise(x), heads[1].standardise(sides[0])
        pairs = cca_solutions(left, right, trust, heads[0].linear.out_features)
        return [[(weights, torch.zeros(len(weights))) for weights in pair] for pair in pairs]
    units = torch.stack([functional.normalize(side, dim=1) for side in sides])
    anchor = functional.normalize(units.nanmean(0), dim=1)
    present = torch.isfinite(anchor).all(1)
    rows, anchor, trust = heads[0].standardise(x[present]), anchor[present], trust[present]
    if method != "cca":
        return [[solution] for solution in ridge_solutions(rows, anchor, trust)]
    share = trust / trust.sum()
    mean = share @ anchor
    maps: list[Maps] = []
    for of_x, of_y in cca_solutions(rows, anchor - mean, trust, heads[0].settings.dim):
        # Both have a factor of the root of the correlation, so that these are its squares.
        squares = share @ ((rows @ of_x.T) * ((anchor - mean) @ of_y.T))
        correlation = squares.clamp_min(0).sqrt()[:, None]
        maps.append([(torch.linalg.pinv(of_y) @ (correlation * of_x), mean)])
    return maps


@torch.no_grad()
def set_maps(heads: list[Head], maps: Maps) -> None:
    """Set the linear maps of the heads."""
    for head, (weights, offset) in zip(heads, maps, strict=True):
        head.set_linear(weights, offset)


@torch.no_grad()
def set_best(heads: list[Head], maps: list[Maps], validate: Callable[[], float]) -> float:
    """Set the maps with the best validation; returns it."""
    values = []
    for each in maps:
        set_maps(heads, each)
        values.append(validate())
    best = max(range(len(maps)), key=values.__getitem__)
    set_maps(heads, maps[best])
    return values[best]
