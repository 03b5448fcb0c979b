"""Sinkhorn normalisation with frozen potentials of the bank queries.

Double normalisation of a query-by-gallery matrix (dual bank Sinkhorn normalisation, DBSN, ACM MM
2025; Cuturi 2013, "Sinkhorn distances: lightspeed computation of optimal transport", NeurIPS)
finds potentials u, v such that

    P(h, b) = exp(beta s(b,h) + u_h + v_b)

has rows and columns of equal sums. Here P is between the gallery bank H and the query bank B, with
pairs of one sample masked. The potentials v are kept; the potential of any gallery row follows from
them in closed form, so a new row depends on itself and the banks alone:

    bias(g) = (1/beta) log sum_B exp(beta s(b,g) + v_b)

This is an inverted softmax whose bank queries are weighted: a query that is near to many items
counts less. An item of the bank has itself made the queries near to it count less, and a new item
has not. To be treated alike, a gallery row with the id of a bank item gets the bias of the
potentials without that item: v_b - log(1 - p_b), where p_b is the item's share of the column of b.
Sensible values of `beta` are 10 to 40 for unit vectors.
"""

from collections.abc import Mapping

import numpy as np

from store.corrections.kernels.arrays import Array, convert_like, namespace, to_numpy
from store.corrections.kernels.bank_scan import Needs, scan
from store.corrections.kernels.logsumexp import WEIGHTED_BETA
from store.corrections.kernels.masks import IdIndex, Pairs
from store.corrections.method import (
    BETA,
    BOTH_BANKS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
)

ITERATIONS = 10
MOST_ITEMS = 2048  # of the gallery bank: more items hardly change the potentials


LEAST_REST = 0.1  # of a column without one item: in a tiny bank, an item can be all of it


def query_needs(params: Params) -> Needs:
    beta = params["beta"]
    return Needs(masks=True, weighted=frozenset({beta} if beta <= WEIGHTED_BETA else ()))


def gallery_needs(params: Params) -> Needs:
    return Needs(masks=True)


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    """Arrays of the banks.

    Returns:
        `query`, the bank; `potential` v (m,), with a maximum of 0; `own` (l,), what is added to the
        bias of a gallery row for each bank item with its id; and `mean_bias` (1,) of bank items.
    """
    beta, items = params["beta"], banks.gallery.shape[0]
    index = np.unique(np.linspace(0, items - 1, min(items, MOST_ITEMS)).astype(int))
    exponent = to_numpy(banks.gallery[index] @ banks.query.T)
    exponent *= beta
    ids = None if banks.gallery_ids is None else banks.gallery_ids[index]
    exponent[IdIndex(banks.query_ids).pairs(ids)] = -np.inf
    v, u, p = _balance(exponent, beta)
    total = p.sum(axis=1)
    without = (p / np.maximum(1 - p, LEAST_REST)).sum(axis=1)
    exists = total > 0
    own = np.zeros(items, np.float32)
    own[index[exists]] = np.log(without[exists] / total[exists]) / beta
    # p = exp(beta s + u + v), so the log-sum-exp of beta s + v is log(total) - u.
    bias = np.log(without[exists]) - u[exists] - v.max()
    arrays = {
        "potential": v - v.max(),
        "own": own,
        "mean_bias": np.array([bias.mean() / beta if exists.any() else 0], np.float32),
    }
    return {"query": banks.query} | {k: convert_like(x, banks.query) for k, x in arrays.items()}


def _balance(exponent: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Potentials v (m,) and u (l,), and exp(exponent + u + v) (l, m), whose columns sum to 1.

    With a large beta the first step uses logarithms: after it no row or column is too small for
    float32. Overwrites `exponent`, which is beta * s.
    """
    u, v = (np.zeros(size, np.float32) for size in exponent.shape)
    steps = ITERATIONS
    if beta > WEIGHTED_BETA:
        v = -_log_sum_exp(exponent, axis=0)
        exponent += v
        u = -_log_sum_exp(exponent, axis=1)
        exponent += u[:, None]
        steps -= 1
    kernel = np.exp(exponent, out=exponent)
    row, column = np.ones_like(u), np.ones_like(v)
    for step in range(steps):
        if step:
            row = _inverse(kernel @ column)
        column = _inverse(row @ kernel)
    kernel *= column
    kernel *= row[:, None]
    return v + np.log(column), u + np.log(row), kernel


def _log_sum_exp(exponent: np.ndarray, axis: int) -> np.ndarray:
    """Along an axis, as float32; the mean of the others where all is masked."""
    largest = exponent.max(axis=axis, keepdims=True)
    largest[largest == -np.inf] = 0
    sums = np.exp(exponent - largest).sum(axis=axis)
    exists = sums > 0
    logs = np.log(np.where(exists, sums, 1)) + np.squeeze(largest, axis)
    logs[~exists] = logs[exists].mean() if exists.any() else 0
    return logs


def _inverse(sums: np.ndarray) -> np.ndarray:
    """1 / sums; the geometric mean of the others where a sum is zero, because all is masked."""
    exists = sums > 0
    inverse = 1 / np.where(exists, sums, 1)
    inverse[~exists] = np.exp(np.log(inverse[exists]).mean()) if exists.any() else 1
    return inverse


def weights(params: Params, state: Mapping[str, Array]) -> dict[float, Array]:
    """exp(v), where the log-sum-exps are computed together with other statistics."""
    if params["beta"] > WEIGHTED_BETA:
        return {}
    return {params["beta"]: namespace(state["potential"]).exp(state["potential"])}


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    assert statistics.gallery is not None
    beta, v, masked = params["beta"], state["potential"], statistics.query.masked
    if beta in statistics.query.weighted:
        log_sums = statistics.query.weighted[beta]
    else:  # such a large beta needs a scan of its own
        needs = Needs(betas=frozenset({beta}))
        log_sums = scan(rows, state["query"], needs, masked=masked, bias=-v / beta).lse[beta]
    bias = (log_sums + _mask_factor(v, masked, rows)) / beta
    bias = bias + _own_influence(state["own"], statistics.gallery.masked, rows)
    is_masked = statistics.query.unmasked == 0
    return Compiled(bias=namespace(rows).where(is_masked, state["mean_bias"][0], bias))


def _own_influence(own: Array, masked: Pairs, rows: Array) -> Array:
    """(n,) the sum of `own` over the bank items with the id of each row."""
    sums = np.bincount(masked[0], weights=to_numpy(own)[masked[1]], minlength=rows.shape[0])
    return convert_like(sums.astype(np.float32), rows)


def _mask_factor(v: Array, masked: Pairs, rows: Array) -> Array:
    """(n,) log of the whole bank's weight over the unmasked weight.

    Added to a log-sum-exp, it replaces the masked terms by the mean of the others.
    """
    weight = np.exp(to_numpy(v).astype(np.float64))
    hidden = np.bincount(masked[0], weights=weight[masked[1]], minlength=rows.shape[0])
    shown = np.maximum(weight.sum() - hidden, np.finfo(np.float32).tiny)
    return convert_like(np.log(weight.sum() / shown).astype(np.float32), rows)


METHOD = Method(
    "sinkhorn",
    compile,
    defaults={"beta": 20.0},
    ranges={"beta": BETA},
    query_needs=query_needs,
    gallery_needs=gallery_needs,
    state=state,
    weights=weights,
    banks=BOTH_BANKS,
    grid=tuple({"beta": beta} for beta in (10.0, 20.0, 40.0)),
)
