"""Running log-sum-exps over tiles of similarities, for several inverse temperatures at once.

Similarities of unit rows are between -1 and 1. So exp(beta * s) neither overflows nor underflows in
float32 up to a beta of 80, and the plain formula takes three passes over a tile. For a larger beta,
the running maximum is subtracted first. If a beta is twice the previous one, the exponentials of
the previous one are squared instead of computed again.
"""

from collections.abc import Sequence

import numpy as np

from store.corrections.kernels.arrays import Array, full_like, namespace

# Rows that count as unit rows have similarities up to 1.004: exp(80 * 1.004) is 8e34, so the sum
# over the 2,048 columns of a tile stays below 2e38, and exp(-80 * 1.004) is far above the smallest
# float32.
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
        self.buffer: Array | None = None

    def add(self, scores: Array) -> None:
        """Add a tile of scores (n, w); masked scores are -inf."""
        if not self.sums:
            return
        xp = self.xp
        if self.buffer is None or self.buffer.shape != scores.shape:
            self.buffer = xp.empty_like(scores)
        self._add(scores, self.plain)
        if self.steep:
            largest = xp.maximum(self.largest, xp.amax(scores, axis=1))
            # While all scores of a row are masked, its maximum is -inf, and -inf - -inf is NaN.
            shift = xp.where(largest > -np.inf, largest, 0.0)
            for beta in self.steep:
                self.sums[beta] *= xp.exp(beta * (self.largest - shift))
            self.largest = largest
            self._add(scores, self.steep, shift)

    def _add(self, scores: Array, betas: Sequence[float], shift: Array | None = None) -> None:
        """Add exp(beta * (scores - shift)) for ascending betas; without a shift it is zero."""
        xp, previous = self.xp, 0.0
        buffer: Array = self.buffer
        for beta in betas:
            if beta == 2 * previous:
                xp.multiply(buffer, buffer, out=buffer)
            else:
                if shift is None:
                    xp.multiply(scores, beta, out=buffer)
                else:
                    xp.subtract(scores, shift[:, None], out=buffer)
                    buffer *= beta
                xp.exp(buffer, out=buffer)
            self.sums[beta] += buffer.sum(axis=1)
            previous = beta

    def result(self) -> dict[float, Array]:
        """beta -> (n,) log-sum-exp; -inf for a row whose scores were all masked."""
        xp, out = self.xp, {}
        for beta, total in self.sums.items():
            positive = total > 0
            out[beta] = xp.where(positive, xp.log(xp.where(positive, total, 1.0)), -np.inf)
            if beta in self.steep:
                out[beta] += beta * xp.where(positive, self.largest, 0.0)
        return out
