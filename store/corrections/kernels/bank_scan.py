"""Scan a bank in tiles of matrix products, and keep running statistics for each row.

`scan` multiplies rows with the bank tile by tile. For every row it keeps running log-sum-exps for
any number of inverse temperatures, the running top k, and the running largest margin over
thresholds. All methods and parameters that use a bank share one scan. Memory is bounded by the
tile, never by rows x bank.
"""

from dataclasses import dataclass, field

import numpy as np

from store.corrections.kernels.arrays import Array, convert_like, empty_like, full_like, namespace
from store.corrections.kernels.logsumexp import LogSumExp
from store.corrections.kernels.masks import NO_PAIRS, Pairs
from store.corrections.kernels.threads import spans
from store.corrections.kernels.topk import TopK

BANK_TILE = 2048  # bank rows of one product: with 1,024 rows, 8 MB of float32


@dataclass(frozen=True)
class Needs:
    """The statistics of a bank that a method needs; `|` joins the needs of several methods.

    Attributes:
        betas: inverse temperatures whose log-sum-exps are needed.
        k: number of nearest bank rows that are needed.
        margins: values of k whose largest margin over the thresholds tau_b is needed.
        weighted: inverse temperatures whose weighted log-sum-exps are needed.
        masks: whether the masked bank rows are needed, even if no similarities are.
    """

    betas: frozenset[float] = frozenset()
    k: int = 0
    margins: frozenset[int] = frozenset()
    weighted: frozenset[float] = frozenset()
    masks: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.betas | other.betas,
            max(self.k, other.k),
            self.margins | other.margins,
            self.weighted | other.weighted,
            self.masks or other.masks,
        )

    def __bool__(self) -> bool:
        return self.needs_scores or self.masks

    @property
    def needs_scores(self) -> bool:
        """Whether similarities must be computed at all."""
        return bool(self.betas or self.weighted or self.k or self.margins)


@dataclass
class ScanResult:
    """Statistics of a bank for n rows.

    Attributes:
        bank_size: number of rows of the bank.
        unmasked: (n,) float32, number of bank rows that were not masked for each row.
        masked: coordinates (row, bank row) that were left out.
        lse: beta -> (n,) log-sum-exp of beta * s over the unmasked bank rows.
        top: (n, k) largest similarities, best first; -inf where there are fewer than k.
        top_index: (n, k) bank rows of `top`; -1 where there are fewer than k.
        margins: k -> (n,) maximum over b of s - tau_b.
        weighted: beta -> (n,) log of the weighted sum of exp(beta * s) over the unmasked bank rows.
    """

    bank_size: int
    unmasked: Array
    masked: Pairs = NO_PAIRS
    lse: dict[float, Array] = field(default_factory=dict)
    top: Array | None = None
    top_index: Array | None = None
    margins: dict[int, Array] = field(default_factory=dict)
    weighted: dict[float, Array] = field(default_factory=dict)

    def log_sum_exp(self, beta: float) -> Array:
        """(n,) log of the sum over the bank of exp(beta * s).

        Each masked term is replaced by the mean of the unmasked ones. Dropping it would make the
        sum smaller only because of the mask.
        """
        xp = namespace(self.unmasked)
        terms = xp.where(self.unmasked > 0, self.unmasked, 1.0)
        return self.lse[beta] + xp.log(self.bank_size / terms)

    def top_mean(self, k: int) -> Array:
        """(n,) mean of the k largest similarities, or of all of them if there are fewer."""
        assert self.top is not None
        xp = namespace(self.top)
        best = self.top[:, :k]
        exists = best > -np.inf
        count = xp.where(exists.any(axis=1), exists.sum(axis=1), 1)
        return xp.where(exists, best, 0.0).sum(axis=1) / count

    def kth(self, k: int) -> Array:
        """(n,) the k-th largest similarity, or the smallest one if there are fewer than k."""
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
    weights: dict[float, Array] | None = None,
    bias: Array | None = None,
    tile: int = BANK_TILE,
) -> ScanResult:
    """Compute the statistics of a bank for each of n rows.

    Args:
        rows: (n, d) float32; at most a few thousand rows, because memory is about
            3 * n * tile floats.
        bank: (m, d) float32.
        needs: the statistics to compute.
        masked: coordinates (row, bank row) to leave out, sorted by bank row.
        thresholds: tau_b (m,) for each k in `needs.margins`.
        weights: (m,) float32 weights of the bank rows for each beta in `needs.weighted`.
        bias: (m,) subtracted from each similarity.
        tile: bank rows of one product.
    """
    xp = namespace(rows)
    n, size = rows.shape[0], bank.shape[0]
    mask_rows, mask_columns = masked
    edges = np.searchsorted(mask_columns, np.arange(0, size + tile, tile))
    sums = LogSumExp(rows, needs.betas, {b: (weights or {})[b] for b in needs.weighted})
    top = TopK(rows, min(needs.k, size))
    margins = {k: full_like(rows, (n,), -np.inf, "float32") for k in needs.margins}
    buffer = empty_like(rows, (n * min(tile, size),), "float32")
    for number, (start, stop) in enumerate(spans(size if needs.needs_scores else 0, tile)):
        scores = buffer[: n * (stop - start)].reshape(n, stop - start)
        xp.matmul(rows, bank[start:stop].T, out=scores)
        if bias is not None:
            scores -= bias[start:stop]
        in_tile = slice(edges[number], edges[number + 1])
        if in_tile.start < in_tile.stop:
            scores[
                convert_like(mask_rows[in_tile], rows),
                convert_like(mask_columns[in_tile] - start, rows),
            ] = -np.inf
        top.add(scores, start)
        for k, margin in margins.items():
            assert thresholds is not None
            best = xp.amax(scores - thresholds[k][start:stop], axis=1)
            xp.maximum(margin, best, out=margin)
        sums.add(scores, start)
    unmasked = size - np.bincount(mask_rows, minlength=n).astype(np.float32)
    values, index = top.result() if needs.k else (None, None)
    lse, weighted = sums.result()
    return ScanResult(
        size, convert_like(unmasked, rows), masked, lse, values, index, margins, weighted
    )
