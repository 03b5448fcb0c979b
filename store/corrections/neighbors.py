"""Nearest neighbours under a correction, as a scikit-learn estimator (extra `sklearn`)."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from store.corrections.fit import fit
from store.corrections.kernels.arrays import Array
from store.errors import InputError


class CorrectedNeighbors(BaseEstimator):
    """Nearest neighbours by cosine similarity, less the bias of a correction.

    Rows are scaled to unit length. In the absence of banks, the items themselves are the query
    bank and the gallery bank, and each item is masked from its own bias.

    Args:
        n_neighbors: default length of the neighbour lists.
        method: name of a method, or of a composition such as "centered+sinkhorn"; see
            `isotrope.fit`. "none" is plain cosine similarity.
        params: parameters of the method, as a dict; None for its defaults.

    Attributes:
        correction_: the fitted `Correction`.
        n_features_in_: number of columns of X.
        n_samples_fit_: number of rows of X.
    """

    def __init__(self, n_neighbors: int = 5, *, method: str = "nnn", params: Any = None):
        self.n_neighbors = n_neighbors
        self.method = method
        self.params = params

    def fit(
        self,
        X: Array,
        y: Any = None,
        *,
        query_bank: Array | None = None,
        gallery_bank: Array | None = None,
        ids: Any = None,
        query_bank_ids: Any = None,
        gallery_bank_ids: Any = None,
    ) -> "CorrectedNeighbors":
        """Fit the correction to the items X (n, d).

        Args:
            X: items.
            y: ignored.
            query_bank: (m, d) a sample of queries; X by default.
            gallery_bank: (l, d) a sample of items; X by default.
            ids: (n,) ids of samples or duplicate clusters, of the same kind as those of the banks.
            query_bank_ids: (m,) ids of the bank queries.
            gallery_bank_ids: (l,) ids of the bank items.

        Raises:
            ValueError: as `isotrope.fit`, whose InputError is a ValueError.
        """
        items = validate_data(self, X, dtype=[np.float64, np.float32])
        item_ids = np.arange(len(items)) if ids is None and query_bank is None else ids
        self.correction_ = fit(
            self.method,
            gallery=items,
            query_bank=items if query_bank is None else query_bank,
            gallery_bank=items if gallery_bank is None else gallery_bank,
            gallery_ids=item_ids,
            query_bank_ids=item_ids if query_bank is None else query_bank_ids,
            gallery_bank_ids=item_ids if gallery_bank is None else gallery_bank_ids,
            **(self.params or {}),
        )
        self.n_samples_fit_ = len(items)
        self._items = items
        return self

    def kneighbors(
        self, X: Array = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """The nearest items of each row, best first.

        Args:
            X: (m, d) queries; None for the items themselves, each without itself.
            n_neighbors: length of the lists; that of the estimator by default.
            return_distance: whether to return distances too.

        Returns:
            Distances (m, k), which are 1 - (cosine - bias) and can be negative, and item rows
            (m, k); the rows alone if `return_distance` is False.

        Raises:
            ValueError: there are fewer items than `n_neighbors`, or X does not fit them.
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        others = self.n_samples_fit_ - (X is None)
        if not 1 <= k <= others:
            raise InputError(f"n_neighbors must be from 1 to {others}, the other items, not {k}")
        if X is None:
            rows, scores = self.correction_.rank(self._items, k + 1)
            rows, scores = _without_itself(rows, scores)
        else:
            queries = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
            rows, scores = self.correction_.rank(queries, k)
        return (1 - scores, rows) if return_distance else rows


def _without_itself(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each item from its own list, or the last entry if it is not there."""
    drop = rows == np.arange(len(rows))[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~drop].reshape(shape), scores[~drop].reshape(shape)
