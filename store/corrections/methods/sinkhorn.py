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
counts less. Sensible values of `beta` are 10 to 40 for unit vectors.
"""

from collections.abc import Mapping

import numpy as np

from store.corrections.kernels.arrays import Array, convert_like, namespace, to_numpy
from store.corrections.kernels.bank_scan import Needs, scan
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


def query_needs(params: Params) -> Needs:
    return Needs(masks=True)


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    """The query bank, its potentials v (m,), and the mean bias of the gallery bank's items (1,)."""
    potential, mean_bias = _potentials(params["beta"], banks)
    return {
        "query": banks.query,
        "potential": convert_like(potential, banks.query),
        "mean_bias": convert_like(np.array([mean_bias], np.float32), banks.query),
    }


def _potentials(beta: float, banks: FitBanks) -> tuple[np.ndarray, float]:
    """v (m,) float32 with a maximum of 0, and the mean bias of the bank's items under v."""
    count = banks.gallery.shape[0]
    index = np.unique(np.linspace(0, count - 1, min(count, MOST_ITEMS)).astype(int))
    exponent = beta * to_numpy(banks.gallery[index] @ banks.query.T)
    ids = None if banks.gallery_ids is None else banks.gallery_ids[index]
    exponent[IdIndex(banks.query_ids).pairs(ids)] = -np.inf
    u = np.zeros(len(exponent), np.float32)
    for _ in range(ITERATIONS):
        v = _balance(exponent + u[:, None], axis=0)
        u = _balance(exponent + v[None, :], axis=1)
    v -= v.max()
    bias = -_balance(exponent + v[None, :], axis=1)
    return v, float(bias.mean() / beta)


def _balance(exponent: np.ndarray, axis: int) -> np.ndarray:
    """The potentials that make the sums along `axis` one; their mean where all is masked."""
    largest = exponent.max(axis=axis, keepdims=True)
    largest[largest == -np.inf] = 0
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(exponent - largest).sum(axis=axis)) + np.squeeze(largest, axis)
    valid = total > -np.inf
    return -np.where(valid, total, total[valid].mean() if valid.any() else 0).astype(np.float32)


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    beta, v, masked = params["beta"], state["potential"], statistics.query.masked
    result = scan(
        rows, state["query"], Needs(betas=frozenset({beta})), masked=masked, bias=-v / beta
    )
    bias = (result.lse[beta] + _mask_factor(v, masked, rows)) / beta
    is_masked = statistics.query.unmasked == 0
    return Compiled(bias=namespace(rows).where(is_masked, state["mean_bias"][0], bias))


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
    state=state,
    banks=BOTH_BANKS,
    grid=tuple({"beta": beta} for beta in (10.0, 20.0, 40.0)),
)
