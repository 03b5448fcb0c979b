"""InvGC with a local neighbourhood (Jian and Wang 2023, "InvGC: Robust Cross-Modal Retrieval by
Inverse Graph Convolution", Findings of EMNLP; its LocalAdj variant).

Moves an item away from its neighbours, which is the opposite of a graph convolution:

    g' = norm( norm(g - r_gallery a_H(g)) / 2 + norm(g - r_query a_B(g)) / 2 )
    a_X(g) = (1/k) sum over the k nearest x in X of s(g,x) x

H is the gallery bank, B the query bank. The published code divides by zero if a neighbourhood is
empty; here an empty neighbourhood moves nothing. Sensible values of `r_gallery` and `r_query` are
0.1 to 1, of `k` 1 to 50.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, namespace, row_norms
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.corrections.method import (
    BOTH_BANKS,
    NEIGHBOURS,
    STRENGTH,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
)


def needs(params: Params) -> Needs:
    return Needs(k=params["k"])


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    return {"query": banks.query, "gallery": banks.gallery}


def neighbour_mean(result: ScanResult, bank: Array, k: int) -> Array:
    """(n, d) a_X: the mean of the k nearest bank rows, weighted by their similarity."""
    assert result.top is not None
    assert result.top_index is not None
    xp = namespace(bank)
    index = result.top_index[:, :k]
    weight = xp.where(index >= 0, result.top[:, :k], 0.0)
    total = weight[:, :1] * bank[index[:, 0]]
    for j in range(1, index.shape[1]):  # one neighbour at a time: an array (n, k, d) is too large
        total += weight[:, j : j + 1] * bank[index[:, j]]
    return total / max(index.shape[1], 1)


def normalise(x: Array) -> Array:
    """Rows scaled to unit length. A zero row stays zero, so it ranks with a similarity of zero."""
    norms = row_norms(x)[:, None]
    return x / namespace(x).where(norms > 0, norms, 1.0)


def push_away(params: Params, rows: Array, gallery_mean: Array, query_mean: Array) -> Array:
    """(n, d) g', from the means a_H and a_B of both banks."""
    from_gallery = normalise(rows - params["r_gallery"] * gallery_mean)
    from_query = normalise(rows - params["r_query"] * query_mean)
    return normalise((from_gallery + from_query) / 2)


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    assert statistics.gallery is not None
    gallery_mean = neighbour_mean(statistics.gallery, state["gallery"], params["k"])
    query_mean = neighbour_mean(statistics.query, state["query"], params["k"])
    return Compiled(vectors=push_away(params, rows, gallery_mean, query_mean))


METHOD = Method(
    "invgc_local",
    compile,
    defaults={"r_gallery": 0.5, "r_query": 0.5, "k": 10},
    ranges={"r_gallery": STRENGTH, "r_query": STRENGTH, "k": NEIGHBOURS},
    query_needs=needs,
    gallery_needs=needs,
    state=state,
    moves=True,
    composes=True,
    banks=BOTH_BANKS,
    grid=tuple({"r_gallery": r, "r_query": r, "k": 10} for r in (0.5, 1.0)),
)
