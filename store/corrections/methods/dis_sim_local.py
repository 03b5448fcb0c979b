"""DisSim local (Hara, Suzuki, Kobayashi, Fukumizu and Radovanovic 2016, "Flattening the density
gradient for eliminating spatial centrality to reduce hubness", AAAI).

    |q - g|^2 - |q - c(q)|^2 - |g - c(g)|^2,
    c(g) = mean of the k nearest rows of the query bank B

This is a dissimilarity. The items of one query rank in the same order by s + |g - c(g)|^2 / 2:

    bias(g) = -|g - c(g)|^2 / 2

With t(g), the mean of the k largest s(b,g), it is t(g) - 1/2 - |c(g)|^2 / 2: `nnn` with alpha = 1,
less half of the squared length of the centroid. `k` is 5 to 50 in the paper. An item all of whose
bank rows are masked has no centroid: it counts as if its neighbours were t(g) g.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, namespace
from store.corrections.method import (
    NEIGHBOURS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
)
from store.corrections.methods.local_scaling import query_needs


def state(params: Params, banks: FitBanks) -> dict[str, Array]:
    return {"query": banks.query}


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    result, bank = statistics.query, state["query"]
    assert result is not None
    assert result.top_index is not None
    xp = namespace(rows)
    index = result.top_index[:, : params["k"]]
    exists = index >= 0
    total = xp.where(exists[:, :1], bank[index[:, 0]], 0.0)
    for j in range(1, index.shape[1]):  # one neighbour at a time: an array (n, k, d) is too large
        total += xp.where(exists[:, j : j + 1], bank[index[:, j]], 0.0)
    count = exists.sum(axis=1)
    centroid = total / xp.where(count > 0, count, 1)[:, None]
    mean = result.top_mean(params["k"])
    squared = xp.where(count > 0, (centroid**2).sum(axis=1), mean**2)
    return Compiled(bias=mean - 0.5 - squared / 2)


METHOD = Method(
    "dis_sim_local",
    compile,
    defaults={"k": 10},
    ranges={"k": NEIGHBOURS},
    query_needs=query_needs,
    state=state,
    grid=tuple({"k": k} for k in (5, 10, 50)),
)
