"""Non-iterative contextual dissimilarity measure (Jegou, Harzallah and Schmid 2007, "A contextual
dissimilarity measure for accurate and efficient image search", CVPR; against hubness: Schnitzer,
Flexer, Schedl and Widmer 2012, JMLR 13).

    d(q,g) / sqrt(mu_q mu_g),  d^2 = 2 - 2s,
    mu_g = mean of the k smallest d(b,g) over the query bank B

This is a dissimilarity. The items of one query rank in the same order by (s - 1) / mu_g:

    g' = g / mu_g (not of unit length), bias(g) = 1 / mu_g

It differs from local scaling by the mean of k distances in the place of the k-th one, of which it
takes the root. `k` is 10 in the papers; sensible values are 5 to 50.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, full_like, namespace
from store.corrections.method import NEIGHBOURS, BankStatistics, Compiled, Method, Params
from store.corrections.methods.local_scaling import LEAST_SIGMA, query_needs


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    assert statistics.query.top is not None
    xp = namespace(rows)
    best = statistics.query.top[:, : params["k"]]
    exists = best > -xp.inf
    squared = 2 - 2 * xp.where(exists, best, 1.0)
    zeros = full_like(squared, tuple(squared.shape), 0.0, "float32")
    count = xp.where(exists.any(axis=1), exists.sum(axis=1), 1)
    mean = (xp.maximum(squared, zeros) ** 0.5).sum(axis=1) / count
    floor = full_like(mean, tuple(mean.shape), LEAST_SIGMA, "float32")
    mean = xp.maximum(mean, floor)
    return Compiled(vectors=rows / mean[:, None], bias=1 / mean)


METHOD = Method(
    "nicdm",
    compile,
    defaults={"k": 10},
    ranges={"k": NEIGHBOURS},
    query_needs=query_needs,
    moves=True,
    grid=tuple({"k": k} for k in (5, 10, 50)),
)
