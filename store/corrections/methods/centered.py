"""Centring of each modality (Liang, Zhang, Kwon, Yeung and Zou 2022, "Mind the gap: understanding
the modality gap in multi-modal contrastive representation learning", NeurIPS; against hubness:
Suzuki, Hara, Shimbo, Saerens and Fukumizu 2013, EMNLP).

    cos(q - mu_q, g - mu_g), mu the mean of a bank

|q - mu_q| is the same for all items of a query, so the items rank in the same order by q . g' -
bias(g) with

    g' = norm(g - mu_g), bias(g) = mu_q . g'

The method has no parameters. In a composition such as centered+nnn, the second method is fitted on
the queries norm(b - mu_q). A score q . g' is |q - mu_q| times the score of the centred query, plus
mu_q . g', so the second bias is multiplied by the mean of |b - mu_q|.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, row_norms
from store.corrections.method import (
    BOTH_BANKS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    MovedQueries,
    Params,
)
from store.corrections.methods.invgc_local import normalise


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    return {"query": banks.query.mean(axis=0), "gallery": banks.gallery.mean(axis=0)}


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    vectors = normalise(rows - state["gallery"])
    return Compiled(vectors, vectors @ state["query"])


def move_queries(params: Params, state: Mapping[str, Array], queries: Array) -> MovedQueries:
    """norm(b - mu_q), the mean length of b - mu_q, and mu_q."""
    centred = queries - state["query"]
    return MovedQueries(normalise(centred), float(row_norms(centred).mean()), state["query"])


METHOD = Method(
    "centered",
    compile,
    state=state,
    move_queries=move_queries,
    moves=True,
    composes=True,
    banks=BOTH_BANKS,
)
