"""A fitted correction: gallery vectors and biases, and the exact ranking by them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from store.corrections.kernels.arrays import (
    Array,
    as_matrix,
    beside,
    full_like,
    is_torch,
    namespace,
    on_host,
    unit,
)
from store.corrections.kernels.bank_scan import Needs, scan
from store.corrections.kernels.threads import blocks
from store.corrections.method import Params
from store.errors import InputError


class Applied(NamedTuple):
    """What a correction gives n gallery rows: vectors (n, d) float32, bias (n,) float32, and for
    dynamic methods a boolean flag (n,), True for hubs."""

    vectors: Array
    bias: Array
    flag: Array | None = None


@dataclass(frozen=True)
class Correction:
    """A method fitted to a gallery: rank by q . vectors - bias.

    `vectors` (n, d) float32, the gallery's own array where nothing moved; `bias` (n,) float32;
    `flag` (n,) bool for dynamic methods, which correct only the queries whose uncorrected top
    item is flagged, and else None; `params` every parameter used, defaults included. Arrays are
    of the gallery's kind (numpy or torch). `query_bank_ids` are those that the query bank was given
    with, where the method is measured on it: `evaluate` tells by them whether it has seen a query.
    """

    method: str
    params: Params
    vectors: Array
    bias: Array
    flag: Array | None = None
    extend: Callable[[Array, Any], Applied] | None = field(default=None, repr=False, compare=False)
    query_bank_ids: np.ndarray | None = field(default=None, repr=False, compare=False)

    def apply(self, rows: Array, ids: Any = None) -> Applied:
        """Vectors, bias and flag of new gallery rows (n, d), the same as a whole fit gives them."""
        if self.extend is None:
            raise InputError("this correction was made without its banks: fit it to apply it")
        return self.extend(rows, ids)

    def rank(self, queries: Array, k: int, where: Any = None) -> tuple[Array, Array]:
        """Exact search by brute force: the best k items of each query.

        `queries` (m, d) are scaled to unit length; `where` (n,) bool admits some items only.
        Returns indices (m, k) int64 and scores (m, k) float32, best first, equal scores by lower
        index; k is clipped to the number of admitted items. Raises InputError for queries of
        another width, rows that are zero or not finite, and k < 1.
        """
        if k != int(k) or k < 1:
            raise InputError(f"k must be a whole number of at least 1, not {k!r}")
        rows = as_matrix(queries, "queries")
        vectors, bias = on_host(self.vectors), on_host(self.bias)
        if rows.shape[1] != vectors.shape[1]:
            raise InputError(
                f"queries have {rows.shape[1]} dims and the gallery {vectors.shape[1]}: "
                "both must come from the same space"
            )
        rows = beside(unit(rows, "queries"), vectors)
        chosen = None if where is None else admitted(where, vectors)
        flag = None if self.flag is None else on_host(self.flag)
        if chosen is not None:
            vectors, bias = vectors[chosen], bias[chosen]
            flag = None if flag is None else flag[chosen]
        k = min(int(k), vectors.shape[0])
        xp = namespace(vectors)
        index = full_like(vectors, (rows.shape[0], k), -1, "int64")
        scores = full_like(vectors, (rows.shape[0], k), -np.inf, "float32")
        for start, stop in blocks(rows.shape[0]):
            seen = scan(rows[start:stop], vectors, Needs(k=k), bias=bias)
            top, at = seen.top, seen.top_index
            if flag is not None and k > 0:
                raw = scan(rows[start:stop], vectors, Needs(k=k))
                assert raw.top_index is not None
                hub = flag[raw.top_index[:, 0]][:, None]
                top, at = xp.where(hub, top, raw.top), xp.where(hub, at, raw.top_index)
            scores[start:stop], index[start:stop] = top, at
        if chosen is not None:
            index = chosen[index]
        return beside(index, self.vectors), beside(scores, self.vectors)


def admitted(where: Any, vectors: Array) -> Array:
    """Indices (c,) of the items that `where` (n,) bool admits."""
    mask = beside(where, vectors)
    if tuple(mask.shape) != (vectors.shape[0],) or "bool" not in str(mask.dtype):
        raise InputError(
            f"where must hold one boolean for each of {vectors.shape[0]} items, "
            f"not {tuple(mask.shape)} of {mask.dtype}"
        )
    return mask.nonzero()[:, 0] if is_torch(mask) else np.flatnonzero(mask)
