"""Tiled products of rows with a bank, and what is seen of them: the only place that multiplies.

`scan` walks the bank in tiles and keeps, for every row, running log-sum-exps for any number of
inverse temperatures, the running top k and the running largest margin over thresholds. All
methods and parameters that look at one bank share one scan, and memory is bounded by the tile,
never by rows x bank.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from store.corrections.arrays import Array, beside, full_like, is_torch, namespace
from store.corrections.masks import NO_PAIRS, Pairs
from store.corrections.topk import TopK

Span = tuple[int, int]  # (start, stop)

ROWS = 2048  # gallery rows and
BANK_TILE = 1024  # bank rows of one product: 8 MB of float32, which stays in the last-level cache


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
class Seen:
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


def blocks(rows: int, size: int = ROWS) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive blocks."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def each(
    work: Callable[[tuple[int, int]], None], spans: Iterable[tuple[int, int]], x: Array
) -> None:
    """Do work on every span: on numpy in threads, because what is done to a tile after its
    product keeps but one core busy, and numpy lets the others run."""
    if is_torch(x):
        for span in spans:
            work(span)
        return
    with ThreadPoolExecutor(workers()) as pool:
        for _ in pool.map(work, spans):
            pass


def workers() -> int:
    """Cores to use: what OMP_NUM_THREADS grants, as Ray sets it for its actors, or all."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return int(granted) if granted.isdigit() and int(granted) else os.cpu_count() or 1


def scan(
    rows: Array,
    bank: Array,
    needs: Needs,
    *,
    masked: Pairs = NO_PAIRS,
    thresholds: dict[int, Array] | None = None,
    bias: Array | None = None,
    tile: int = BANK_TILE,
) -> Seen:
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
    space: dict[int, Any] = {}
    for number, (start, stop) in enumerate(blocks(size if needs.scores else 0, tile)):
        if stop - start not in space:
            space[stop - start] = full_like(rows, (n, stop - start), 0.0, "float32")
        scores = xp.matmul(rows, bank[start:stop].T, out=space[stop - start])
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
    return Seen(size, beside(left, rows), masked, sums.result(), values, index, margins)


class LogSumExp:
    """Running log-sum-exp of beta * scores, for several betas over one running maximum."""

    def __init__(self, rows: Array, betas: frozenset[float]):
        n = rows.shape[0]
        self.xp = namespace(rows)
        self.largest = full_like(rows, (n,), -np.inf, "float32")
        self.sums = {beta: full_like(rows, (n,), 0.0, "float64") for beta in sorted(betas)}
        self.space: Array | None = None

    def add(self, scores: Array) -> None:
        """Take in a tile (n, w)."""
        if not self.sums:
            return
        xp = self.xp
        largest = xp.maximum(self.largest, xp.amax(scores, axis=1))
        # Where all is masked so far the maximum is -inf, and -inf - -inf would be NaN.
        shift = xp.where(largest > -np.inf, largest, 0.0)
        if self.space is None or self.space.shape != scores.shape:
            self.space = xp.empty_like(scores)
        for beta in self.sums:
            xp.subtract(scores, shift[:, None], out=self.space)
            self.space *= beta
            xp.exp(self.space, out=self.space)
            self.sums[beta] *= xp.exp(beta * (self.largest - shift))
            self.sums[beta] += self.space.sum(axis=1)
        self.largest = largest

    def result(self) -> dict[float, Array]:
        xp = self.xp
        out = {}
        for beta, total in self.sums.items():
            there = total > 0
            log = xp.log(xp.where(there, total, 1.0)) + beta * xp.where(there, self.largest, 0.0)
            out[beta] = xp.where(there, log, -np.inf)
        return out
