"""Running log-sum-exps over tiles of similarities, for several inverse temperatures at once.

Similarities of unit rows are between -1 and 1. So exp(beta * s) neither overflows nor underflows in
float32 up to a beta of 80, and the plain formula takes three passes over a tile. For a larger beta,
the running maximum is subtracted first. If a beta is twice the previous one, the exponentials of
the previous one are squared instead of computed again. A weighted sum is the product of the
exponentials with the weights, so it needs no further pass over the similarities.
"""

from collections.abc import Sequence

import numpy as np

from store.corrections.kernels.arrays import Array, full_like, namespace

# Rows that count as unit rows have similarities up to 1.004: exp(80 * 1.004) is 8e34, so the sum
# over the 2,048 columns of a tile stays below 2e38, and exp(-80 * 1.004) is far above the smallest
# float32.
PLAIN_BETA = 80.0
# Of a weighted sum, whose weights are down to exp(-2 beta): float32 holds exp(-80).
WEIGHTED_BETA = 40.0


class LogSumExp:
    """Log-sum-exp of beta * scores along n rows, for each beta.

    Args:
        rows: n rows, for the kind of the arrays.
        betas: of the sums without weights.
        weights: beta -> (m,) weights of the columns, for weighted sums up to `WEIGHTED_BETA`.
    """

    def __init__(self, rows: Array, betas: frozenset[float], weights: dict[float, Array]):
        assert all(beta <= WEIGHTED_BETA for beta in weights)
        n = rows.shape[0]
        self.xp = namespace(rows)
        self.weights = weights
        self.plain = sorted(beta for beta in betas | weights.keys() if beta <= PLAIN_BETA)
        self.steep = sorted(beta for beta in betas if beta > PLAIN_BETA)
        self.sums = {beta: full_like(rows, (n,), 0.0, "float64") for beta in betas}
        self.weighted = {beta: full_like(rows, (n,), 0.0, "float64") for beta in weights}
        self.largest = full_like(rows, (n,), -np.inf, "float32")
        self.buffer: Array | None = None

    def add(self, scores: Array, start: int) -> None:
        """Add a tile of scores (n, w) whose first column is column `start` of the full matrix;
        masked scores are -inf."""
        if not (self.plain or self.steep):
            return
        xp = self.xp
        if self.buffer is None or self.buffer.shape != scores.shape:
            self.buffer = xp.empty_like(scores)
        self._add(scores, start, self.plain)
        if self.steep:
            largest = xp.maximum(self.largest, xp.amax(scores, axis=1))
            # While all scores of a row are masked, its maximum is -inf, and -inf - -inf is NaN.
            shift = xp.where(largest > -np.inf, largest, 0.0)
            for beta in self.steep:
                self.sums[beta] *= xp.exp(beta * (self.largest - shift))
            self.largest = largest
            self._add(scores, start, self.steep, shift)

    def _add(
        self, scores: Array, start: int, betas: Sequence[float], shift: Array | None = None
    ) -> None:
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
            if beta in self.sums:
                self.sums[beta] += buffer.sum(axis=1)
            if beta in self.weighted:
                self.weighted[beta] += buffer @ self.weights[beta][start : start + buffer.shape[1]]
            previous = beta

    def result(self) -> tuple[dict[float, Array], dict[float, Array]]:
        """beta -> (n,) log-sum-exp without and with weights; -inf for a row whose scores were all
        masked."""
        logs = {beta: self._log(total) for beta, total in self.sums.items()}
        for beta in self.steep:
            logs[beta] += beta * self.xp.where(self.sums[beta] > 0, self.largest, 0.0)
        return logs, {beta: self._log(total) for beta, total in self.weighted.items()}

    def _log(self, total: Array) -> Array:
        xp, positive = self.xp, total > 0
        return xp.where(positive, xp.log(xp.where(positive, total, 1.0)), -np.inf)
