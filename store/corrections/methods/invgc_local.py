"""InvGC with a local neighbourhood (Jian and Wang 2023, "InvGC: Robust Cross-Modal Retrieval by
Inverse Graph Convolution", Findings of EMNLP; its LocalAdj variant).

Pushes an item away from what lies around it, the opposite of a graph convolution:

    g' = norm( norm(g - r_gallery a_H(g)) / 2 + norm(g - r_query a_B(g)) / 2 )
    a_X(g) = (1/k) sum over the k nearest x in X of s(g,x) x

H is the gallery bank, B the query bank. The published pool of zero items divides by zero; here an
empty neighbourhood pushes nowhere. `r_gallery` and `r_query` are sensible from 0.1 to 1, `k` from
1 to 50.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, lengths, namespace
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.corrections.method import (
    BOTH,
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


def surroundings(seen: ScanResult, bank: Array, k: int) -> Array:
    """(n, d) a_X: the mean of the nearest bank rows, weighted by their similarity."""
    assert seen.top is not None
    assert seen.top_index is not None
    xp = namespace(bank)
    index = seen.top_index[:, :k]
    weight = xp.where(index >= 0, seen.top[:, :k], 0.0)
    total = weight[:, :1] * bank[index[:, 0]]
    for j in range(1, index.shape[1]):  # neighbour by neighbour: (n, k, d) at once is too much
        total += weight[:, j : j + 1] * bank[index[:, j]]
    return total / max(index.shape[1], 1)


def norm(x: Array) -> Array:
    """Unit rows; a row pushed onto zero stays there, which ranks it at zero similarity."""
    length = lengths(x)[:, None]
    return x / namespace(x).where(length > 0, length, 1.0)


def push(params: Params, rows: Array, around_gallery: Array, around_query: Array) -> Array:
    """(n, d) g' from what surrounds g in either bank."""
    from_gallery = norm(rows - params["r_gallery"] * around_gallery)
    from_query = norm(rows - params["r_query"] * around_query)
    return norm((from_gallery + from_query) / 2)


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, look: BankStatistics
) -> Compiled:
    assert look.query is not None
    assert look.gallery is not None
    around_gallery = surroundings(look.gallery, state["gallery"], params["k"])
    around_query = surroundings(look.query, state["query"], params["k"])
    return Compiled(vectors=push(params, rows, around_gallery, around_query))


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
    banks=BOTH,
    grid=tuple({"r_gallery": r, "r_query": r, "k": 10} for r in (0.5, 1.0)),
)
