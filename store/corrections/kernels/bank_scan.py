"""Tiled products of rows with a bank, and what is seen of them: the only place that multiplies.

`scan` walks the bank in tiles and keeps, for every row, running log-sum-exps for any number of
inverse temperatures, the running top k and the running largest margin over thresholds. All
methods and parameters that look at one bank share one scan, and memory is bounded by the tile,
never by rows x bank.
"""

from dataclasses import dataclass, field

import numpy as np

from store.corrections.kernels.arrays import Array, beside, empty_like, full_like, namespace
from store.corrections.kernels.logsumexp import LogSumExp
from store.corrections.kernels.masks import NO_PAIRS, Pairs
from store.corrections.kernels.threads import blocks
from store.corrections.kernels.topk import TopK

BANK_TILE = 2048  # bank rows of one product: with 1,024 rows 8 MB of float32


@dataclass(frozen=True)
class Needs:
    """What a method must see of a bank; `|` joins the needs of several methods."""

    betas: frozenset[float] = frozenset()
    k: int = 0
    margins: frozenset[int] = frozenset()
    masks: bool = False  # only which bank rows are masked

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.betas | other.betas,
            max(self.k, other.k),
            self.margins | other.margins,
            self.masks or other.masks,
        )

    def __bool__(self) -> bool:
        return self.scores or self.masks

    @property
    def scores(self) -> bool:
        """Whether similarities must be computed at all."""
        return bool(self.betas or self.k or self.margins)


@dataclass
class ScanResult:
    """What n rows saw of a bank of `size` rows, of which `left` (n,) were not masked."""

    size: int
    left: Array
    masked: Pairs = NO_PAIRS
    lse: dict[float, Array] = field(default_factory=dict)  # beta -> (n,) log-sum-exp of beta*s
    top: Array | None = None  # (n, k) best similarities, best first, -inf where there are fewer
    top_index: Array | None = None  # (n, k) bank rows of `top`, -1 where there are fewer
    margins: dict[int, Array] = field(default_factory=dict)  # k -> (n,) max over b of s - tau_b

    def log_sum_exp(self, beta: float) -> Array:
        """(n,) log sum over the bank of exp(beta*s).

        Masked entries are replaced by the mean of the others rather than dropped: a sum over
        fewer terms would be smaller for no reason but the mask.
        """
        xp = namespace(self.left)
        return self.lse[beta] + xp.log(self.size / xp.where(self.left > 0, self.left, 1.0))

    def top_mean(self, k: int) -> Array:
        """(n,) mean of the best k similarities, or of as many as there are."""
        assert self.top is not None
        xp = namespace(self.top)
        best = self.top[:, :k]
        there = best > -np.inf
        return xp.where(there, best, 0.0).sum(axis=1) / xp.where(
            there.any(axis=1), there.sum(axis=1), 1
        )

    def kth(self, k: int) -> Array:
        """(n,) the k-th best similarity, or the last one where there are fewer."""
        assert self.top is not None
        xp = namespace(self.top)
        best = self.top[:, :k]
        return xp.amin(xp.where(best > -np.inf, best, np.inf), axis=1)


def scan(
    rows: Array,
    bank: Array,
    needs: Needs,
    *,
    masked: Pairs = NO_PAIRS,
    thresholds: dict[int, Array] | None = None,
    bias: Array | None = None,
    tile: int = BANK_TILE,
) -> ScanResult:
    """Look at a bank (m, d) from each of n rows (n, d), both float32.

    `masked` are coordinates left out; `thresholds` gives tau_b (m,) for each k in
    `needs.margins`; `bias` (m,) is taken off each similarity. n should be a block of at most a
    few thousand rows: memory is about 3 * n * tile floats.
    """
    xp = namespace(rows)
    n, size = rows.shape[0], bank.shape[0]
    mask_rows, mask_columns = masked
    edges = np.searchsorted(mask_columns, np.arange(0, size + tile, tile))
    sums = LogSumExp(rows, needs.betas)
    top = TopK(rows, min(needs.k, size))
    margins = {k: full_like(rows, (n,), -np.inf, "float32") for k in needs.margins}
    space = empty_like(rows, (n * min(tile, size),), "float32")
    for number, (start, stop) in enumerate(blocks(size if needs.scores else 0, tile)):
        scores = space[: n * (stop - start)].reshape(n, stop - start)
        xp.matmul(rows, bank[start:stop].T, out=scores)
        if bias is not None:
            scores -= bias[start:stop]
        here = slice(edges[number], edges[number + 1])
        if here.start < here.stop:
            scores[
                beside(mask_rows[here], rows), beside(mask_columns[here] - start, rows)
            ] = -np.inf
        top.add(scores, start)
        for k, margin in margins.items():
            assert thresholds is not None
            best = xp.amax(scores - thresholds[k][start:stop], axis=1)
            xp.maximum(margin, best, out=margin)
        sums.add(scores)
    left = size - np.bincount(mask_rows, minlength=n).astype(np.float32)
    values, index = top.result() if needs.k else (None, None)
    return ScanResult(size, beside(left, rows), masked, sums.result(), values, index, margins)
