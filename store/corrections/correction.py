"""A fitted correction: gallery vectors and biases, and exact ranking by them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from store.corrections.kernels.arrays import (
    Array,
    as_matrix,
    convert_like,
    full_like,
    is_torch,
    namespace,
    numpy_if_cpu,
    unit_rows,
)
from store.corrections.kernels.bank_scan import Needs, scan
from store.corrections.kernels.threads import spans
from store.corrections.method import Params
from store.errors import InputError


class Applied(NamedTuple):
    """The values of n gallery rows under a correction.

    Attributes:
        vectors: (n, d) float32.
        bias: (n,) float32.
        flag: (n,) bool, True for hubs; None for methods that are not dynamic.
    """

    vectors: Array
    bias: Array
    flag: Array | None = None


@dataclass(frozen=True)
class Correction:
    """A method fitted to a gallery. It ranks by q . vectors - bias.

    Arrays are of the kind of the gallery that was given to `fit`: numpy or torch.

    Attributes:
        method: name of the method or composition.
        params: all parameters, defaults included.
        vectors: (n, d) float32; the gallery's own array if nothing was moved.
        bias: (n,) float32.
        flag: (n,) bool for dynamic methods, which correct only the queries whose uncorrected top
            item is flagged; None for the others.
        extend: computes the values of new gallery rows; see `apply`.
        query_bank_ids: ids of the query bank, if the method is fitted on it. `evaluate` uses them
            to detect queries that the correction was fitted on.
    """

    method: str
    params: Params
    vectors: Array
    bias: Array
    flag: Array | None = None
    extend: Callable[[Array, Any], Applied] | None = field(default=None, repr=False, compare=False)
    query_bank_ids: np.ndarray | None = field(default=None, repr=False, compare=False)

    def apply(self, rows: Array, ids: Any = None) -> Applied:
        """The values of new gallery rows, equal to those that a fit of the whole gallery gives.

        Args:
            rows: (n, d), scaled to unit length where necessary.
            ids: (n,) ids of samples or duplicate clusters.

        Raises:
            InputError: the correction was made without its banks, or the rows are not valid.
        """
        if self.extend is None:
            raise InputError(
                "this correction has no banks, so it cannot be applied to new rows; use one that"
                " `fit` returns"
            )
        return self.extend(rows, ids)

    def map_queries(self, queries: Array) -> Array:
        """The vectors (m, d) to search `vectors` with: unit queries, since no method moves them.

        Raises:
            InputError: a query is zero or not finite.
        """
        return unit_rows(as_matrix(queries, "queries"), "queries")

    def rank(self, queries: Array, k: int, where: Any = None) -> tuple[Array, Array]:
        """The k best items of each query, by exact brute-force search.

        Args:
            queries: (m, d), scaled to unit length where necessary.
            k: length of the result lists; at most the number of admitted items is returned.
            where: (n,) bool, False for items that are excluded.

        Returns:
            Gallery rows (m, k) int64 and scores (m, k) float32, best first; equal scores are
            ordered by the lower row.

        Raises:
            InputError: queries have another width, a query is zero or not finite, or k < 1.
        """
        if k != int(k) or k < 1:
            raise InputError(f"k must be a whole number of at least 1, not {k!r}")
        rows = self.map_queries(queries)
        vectors, bias = numpy_if_cpu(self.vectors), numpy_if_cpu(self.bias)
        if rows.shape[1] != vectors.shape[1]:
            raise InputError(
                f"queries have {rows.shape[1]} dims and the gallery {vectors.shape[1]}: "
                "both must come from the same space"
            )
        rows = convert_like(rows, vectors)
        admitted = None if where is None else _admitted_rows(where, vectors)
        flag = None if self.flag is None else numpy_if_cpu(self.flag)
        if admitted is not None:
            vectors, bias = vectors[admitted], bias[admitted]
            flag = None if flag is None else flag[admitted]
        k = min(int(k), vectors.shape[0])
        xp = namespace(vectors)
        index = full_like(vectors, (rows.shape[0], k), -1, "int64")
        scores = full_like(vectors, (rows.shape[0], k), -np.inf, "float32")
        for start, stop in spans(rows.shape[0]):
            corrected = scan(rows[start:stop], vectors, Needs(k=k), bias=bias)
            top, top_index = corrected.top, corrected.top_index
            if flag is not None and k > 0:
                raw = scan(rows[start:stop], vectors, Needs(k=k))
                assert raw.top_index is not None
                hub = flag[raw.top_index[:, 0]][:, None]
                top = xp.where(hub, top, raw.top)
                top_index = xp.where(hub, top_index, raw.top_index)
            scores[start:stop], index[start:stop] = top, top_index
        if admitted is not None:
            index = admitted[index]
        return convert_like(index, self.vectors), convert_like(scores, self.vectors)


def _admitted_rows(where: Any, vectors: Array) -> Array:
    """(c,) rows of the items for which `where` (n,) bool is True."""
    mask = convert_like(where, vectors)
    if tuple(mask.shape) != (vectors.shape[0],) or "bool" not in str(mask.dtype):
        raise InputError(
            f"where must hold one boolean for each of {vectors.shape[0]} items, "
            f"not {tuple(mask.shape)} of {mask.dtype}"
        )
    return mask.nonzero()[:, 0] if is_torch(mask) else np.flatnonzero(mask)
