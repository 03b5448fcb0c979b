"""A linear map learned from the pairs of the banks, mixed into the centred gallery vectors.

The cross-covariance of paired rows, whitened on both sides, says which directions of the gallery
answer which directions of the queries (canonical correlation analysis: Hotelling 1936; Hardoon,
Szedmak and Shawe-Taylor 2004, Neural Computation). With x, y the centred unit rows of paired bank
queries and items, Cx, Cy, Cyx their (cross-)covariances,

    W = (Cy + ridge tr(Cy)/d I)^-1 Cyx (Cx + ridge tr(Cx)/d I)^-1
    g' = norm((1 - mix) c + mix norm(c W)),  c = norm(g - mu_g)
    bias(g) = mu_q . g'

q . g' is a bilinear score of q and g, so queries need no map of their own. Pairs are bank rows of
equal ids; rows of one id count as one pair, their means. A composition fits the second method as
`centered` does.
"""

from collections.abc import Mapping

import numpy as np

from store.corrections.kernels.arrays import Array, convert_like, to_numpy
from store.corrections.method import (
    BOTH_BANKS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
    Range,
)
from store.corrections.methods import centered
from store.corrections.methods.invgc_local import normalise
from store.errors import InputError

LEAST_VARIANCE = 1e-12  # of a dimension: banks of equal rows have none, and no inverse


def paired_ids(query_ids: np.ndarray | None, gallery_ids: np.ndarray | None) -> np.ndarray:
    """The ids that both banks have, sorted; empty if a bank has no ids."""
    if query_ids is None or gallery_ids is None:
        return np.empty(0, np.int64)
    return np.intersect1d(query_ids, gallery_ids)


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    """The means of the banks, and W (d, d)."""
    ids = paired_ids(banks.query_ids, banks.gallery_ids)
    if not len(ids):
        raise InputError(
            "canonical is fitted on pairs of the banks: give query_bank_ids and gallery_bank_ids"
            " that share ids"
        )
    means = centered.state({}, banks)
    x = _pair_means(to_numpy(normalise(banks.query - means["query"])), banks.query_ids, ids)
    y = _pair_means(to_numpy(normalise(banks.gallery - means["gallery"])), banks.gallery_ids, ids)
    left, right = (np.linalg.inv(_regularised_gram(rows, params["ridge"])) for rows in (y, x))
    if len(ids) < x.shape[1]:
        weight = y.T @ (left @ right) @ x
    else:
        weight = left @ (y.T @ x) @ right
    # The scale is lost when rows are normalised; this one keeps float32 in range.
    weight /= max(np.abs(weight).max(), 1e-30)
    return {**means, "weight": convert_like(weight.astype(np.float32), banks.query)}


def _pair_means(rows: np.ndarray, row_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(len(ids), d) float64 mean of the rows of each id."""
    index = np.searchsorted(ids, row_ids)
    index[index == len(ids)] = 0
    paired = ids[index] == row_ids
    order = np.flatnonzero(paired)[np.argsort(index[paired], kind="stable")]
    _, first, count = np.unique(index[order], return_index=True, return_counts=True)
    return np.add.reduceat(rows[order].astype(np.float64), first) / count[:, None]


def _regularised_gram(rows: np.ndarray, ridge: float) -> np.ndarray:
    """The covariance of rows (n, d) plus the ridge; or, if n < d, the smaller matrix (n, n) that
    does the same from the other side: (R'R + c I)^-1 R' = R' (R R' + c I)^-1."""
    n, dims = rows.shape
    gram = (rows @ rows.T if n < dims else rows.T @ rows) / n
    variance = max(np.trace(gram) / dims, LEAST_VARIANCE)
    return gram + ridge * variance * np.eye(len(gram))


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    mix, vectors = params["mix"], normalise(rows - state["gallery"])
    vectors = normalise((1 - mix) * vectors + mix * normalise(vectors @ state["weight"]))
    return Compiled(vectors, vectors @ state["query"])


METHOD = Method(
    "canonical",
    compile,
    defaults={"mix": 0.3, "ridge": 1.0},
    ranges={"mix": Range(0, 1), "ridge": Range(1e-6, 1e6)},
    state=state,
    state_params=("ridge",),
    move_queries=centered.move_queries,
    moves=True,
    composes=True,
    banks=BOTH_BANKS,
    grid=tuple({"mix": mix} for mix in (0.1, 0.2, 0.3, 0.4)),
)
