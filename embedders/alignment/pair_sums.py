"""Heads in closed form from sums over pairs, which grow with new pairs.

A ridge regression and a canonical correlation need of the pairs only means and mean products. Those
of two sets of pairs are added exactly (Chan, Golub and LeVeque 1979), so a head that is solved from
added sums equals one that is learned from all pairs again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from embedders.alignment.closed_form import (
    cca_by_penalty,
    principal_axes_of,
    ridge_by_penalty,
)
from embedders.alignment.settings import Settings
from embedders.projection import Projection
from store.errors import InputError


@dataclass(frozen=True)
class Moments:
    """Sums over rows.

    Attributes:
        weight: the sum of the weights of the rows.
        mean: (d,) float64.
        scatter: (d, d) float64, the weighted sum of the products of deviations from the mean.
    """

    weight: float
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, weights: np.ndarray) -> "Moments":
        """Those of rows (n, d) with weights (n,)."""
        total = float(weights.sum(dtype=np.float64))
        rows = np.asarray(rows, np.float64)
        mean = weights @ rows / max(total, 1e-300)
        centred = rows - mean
        return cls(total, mean, (centred * weights[:, None]).T @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        total = self.weight + other.weight
        share = other.weight / max(total, 1e-300)
        apart = other.mean - self.mean
        between = np.outer(apart, apart) * self.weight * share
        return Moments(total, self.mean + share * apart, self.scatter + other.scatter + between)


@dataclass(frozen=True)
class PairSums:
    """Sums over pairs (x, y), as rows of both side by side.

    Attributes:
        width: d_x.
        plain: with all weights 1: each side alone is as reliable in a mismatched pair.
        trusted: with the weights of the pairs.
    """

    width: int
    plain: Moments
    trusted: Moments

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> "PairSums":
        """Those of pairs.

        Args:
            x: (n, d_x) features.
            y: (n, d_y) features of the other side; in a space that is kept, unit rows.
            weights: (n,) 0 to 1; None: all 1.
        """
        rows = np.concatenate([x, y], axis=1)
        ones = np.ones(len(rows))
        trust = ones if weights is None else np.asarray(weights, np.float64)
        return cls(x.shape[1], Moments.of(rows, ones), Moments.of(rows, trust))

    def __add__(self, other: "PairSums") -> "PairSums":
        """The sums over both sets of pairs.

        Raises:
            InputError: the sides differ in width.
        """
        if (self.width, len(self.plain.mean)) != (other.width, len(other.plain.mean)):
            raise InputError(
                f"pairs of widths {self.width} + {len(self.plain.mean) - self.width} cannot be"
                f" added to pairs of {other.width} + {len(other.plain.mean) - other.width}"
            )
        return PairSums(self.width, self.plain + other.plain, self.trusted + other.trusted)

    def tensors(self) -> dict[str, np.ndarray]:
        """The sums as arrays by name; `from_tensors` reads them."""
        named = {"plain": self.plain, "trusted": self.trusted}
        return {
            "width": np.array(self.width),
            **{f"{name}.weight": np.array(m.weight) for name, m in named.items()},
            **{f"{name}.mean": m.mean for name, m in named.items()},
            **{f"{name}.scatter": m.scatter for name, m in named.items()},
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> "PairSums":
        """Read what `tensors` gives."""
        plain, trusted = (
            Moments(float(tensors[f"{n}.weight"]), tensors[f"{n}.mean"], tensors[f"{n}.scatter"])
            for n in ("plain", "trusted")
        )
        return cls(int(tensors["width"]), plain, trusted)


def mean_anchor(anchors: Sequence[np.ndarray]) -> np.ndarray:
    """The unit mean of the unit rows of the anchors that are present, (n, d); NaN where none is."""
    units = np.stack([a / np.linalg.norm(a, axis=1, keepdims=True) for a in anchors])
    with np.errstate(invalid="ignore"):
        total = np.where(np.isnan(units).all(axis=0), np.nan, np.nansum(units, axis=0))
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def solve(sums: PairSums, two_sided: bool, settings: Settings) -> Iterator[list[Projection]]:
    """The heads by `settings.method` for each of `PENALTIES`: of x and, two-sided, of y.

    They equal those of `embedders.alignment.linear_start.closed_form_maps` for the same pairs.
    """
    width = sums.width
    sides = slice(0, width), slice(width, None)
    scales = [_scale(sums.plain, side) for side in sides]
    plain, trusted = sums.plain, sums.trusted
    drift = trusted.mean - plain.mean  # of the weighted mean from the plain one
    of_x = _mean_square(plain, sides[0], scales[0])
    if two_sided:
        of_y = _mean_square(plain, sides[1], scales[1])
        cross = trusted.scatter[sides[0], sides[1]] / trusted.weight
        cross = cross + np.outer(drift[sides[0]], drift[sides[1]])
        cross = scales[0][:, None] * cross * scales[1]
        axes = principal_axes_of(torch.from_numpy(of_x)), principal_axes_of(torch.from_numpy(of_y))
        for pair in cca_by_penalty(*axes, torch.from_numpy(cross), settings.dim):
            yield [
                _head(_padded(w.numpy(), settings.dim), scale, plain.mean[side], 0.0)
                for w, scale, side in zip(pair, scales, sides, strict=True)
            ]
        return
    mean = trusted.mean[sides[1]]
    cross = scales[0][:, None] * trusted.scatter[sides[0], sides[1]] / trusted.weight
    for w in _one_sided(sums, of_x, cross, scales[0], drift, settings):
        yield [_head(w, scales[0], plain.mean[sides[0]], mean)]


def _one_sided(
    sums: PairSums,
    of_x: np.ndarray,
    cross: np.ndarray,
    scale: np.ndarray,
    drift: np.ndarray,
    settings: Settings,
) -> Iterator[np.ndarray]:
    """The maps (d_x, d_y) of standardised x to y less its mean, for each penalty."""
    x, y = slice(0, sums.width), slice(sums.width, None)
    if settings.method == "ridge":
        apart = scale * drift[x]
        trusted = sums.trusted.scatter[x, x] / sums.trusted.weight
        of_x = scale[:, None] * trusted * scale + np.outer(apart, apart)
        axes = principal_axes_of(torch.from_numpy(of_x))
        yield from (w.numpy() for w in ridge_by_penalty(*axes, torch.from_numpy(cross)))
        return
    of_y = sums.plain.scatter[y, y] / sums.plain.weight + np.outer(drift[y], drift[y])
    axes_x, axes_y = (principal_axes_of(torch.from_numpy(m)) for m in (of_x, of_y))
    for left, right in cca_by_penalty(axes_x, axes_y, torch.from_numpy(cross), settings.dim):
        squares = np.einsum("ik,ij,jk->k", left.numpy(), cross, right.numpy(), optimize=True)
        correlation = np.sqrt(np.maximum(squares, 0))
        yield (left.numpy() * correlation) @ np.linalg.pinv(right.numpy())


def _scale(moments: Moments, side: slice) -> np.ndarray:
    """1 / deviation of each feature, with the floor of `embedders.alignment.heads.Head`."""
    deviation = np.sqrt(np.diag(moments.scatter)[side] / max(moments.weight - 1, 1))
    return 1 / (deviation + 1e-3 * deviation.max() + 1e-12)


def _mean_square(moments: Moments, side: slice, scale: np.ndarray) -> np.ndarray:
    return scale[:, None] * moments.scatter[side, side] / moments.weight * scale


def _padded(weights: np.ndarray, dim: int) -> np.ndarray:
    return np.pad(weights, ((0, 0), (0, dim - weights.shape[1])))


def _head(
    weights: np.ndarray, scale: np.ndarray, mean: np.ndarray, offset: np.ndarray | float
) -> Projection:
    """The map of standardised rows, with the standardisation folded into its weights."""
    weight = weights * scale[:, None]
    bias = offset - mean @ weight
    return Projection({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})
