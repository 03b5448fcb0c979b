"""Running log-sum-exps over tiles of similarities, for several inverse temperatures at once.

Similarities of unit rows lie within one of zero, so exp(beta*s) fits float32 as it is, neither
overflowing nor underflowing, up to a beta of 80: that takes three passes over a tile. Beyond, the
running maximum is taken off first. A beta that is twice the one before squares what is there.
"""

from collections.abc import Sequence

import numpy as np

from store.corrections.kernels.arrays import Array, full_like, namespace

# 1.004 is the largest similarity of rows that pass for unit: exp(80 * 1.004) is 8e34, so that a sum
# over a tile's 2,048 columns stays below 2e38, and exp(-80 * 1.004) is far above the least float32.
PLAIN_BETA = 80.0


class LogSumExp:
    """Log-sum-exp of beta * scores along n rows, for each beta."""

    def __init__(self, rows: Array, betas: frozenset[float]):
        n = rows.shape[0]
        self.xp = namespace(rows)
        self.plain = sorted(beta for beta in betas if beta <= PLAIN_BETA)
        self.steep = sorted(beta for beta in betas if beta > PLAIN_BETA)
        self.sums = {beta: full_like(rows, (n,), 0.0, "float64") for beta in betas}
        self.largest = full_like(rows, (n,), -np.inf, "float32")
        self.space: Array | None = None

    def add(self, scores: Array) -> None:
        """Take in a tile (n, w); masked scores are -inf."""
        if not self.sums:
            return
        xp = self.xp
        if self.space is None or self.space.shape != scores.shape:
            self.space = xp.empty_like(scores)
        self._add(scores, self.plain)
        if self.steep:
            largest = xp.maximum(self.largest, xp.amax(scores, axis=1))
            # Where all is masked so far the maximum is -inf, and -inf - -inf would be NaN.
            shift = xp.where(largest > -np.inf, largest, 0.0)
            for beta in self.steep:
                self.sums[beta] *= xp.exp(beta * (self.largest - shift))
            self.largest = largest
            self._add(scores, self.steep, shift)

    def _add(self, scores: Array, betas: Sequence[float], shift: Array | None = None) -> None:
        """Add exp(beta * (scores - shift)) for ascending betas; no shift is a shift of zero."""
        xp, before = self.xp, 0.0
        space: Array = self.space
        for beta in betas:
            if beta == 2 * before:
                xp.multiply(space, space, out=space)
            else:
                if shift is None:
                    xp.multiply(scores, beta, out=space)
                else:
                    xp.subtract(scores, shift[:, None], out=space)
                    space *= beta
                xp.exp(space, out=space)
            self.sums[beta] += space.sum(axis=1)
            before = beta

    def result(self) -> dict[float, Array]:
        """beta -> (n,) log-sum-exp, -inf where all was masked."""
        xp, out = self.xp, {}
        for beta, total in self.sums.items():
            there = total > 0
            out[beta] = xp.where(there, xp.log(xp.where(there, total, 1.0)), -np.inf)
            if beta in self.steep:
                out[beta] += beta * xp.where(there, self.largest, 0.0)
        return out
