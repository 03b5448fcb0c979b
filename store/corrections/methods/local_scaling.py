"""Local scaling (Zelnik-Manor and Perona 2004, "Self-tuning spectral clustering", NIPS; against
hubness: Schnitzer, Flexer, Schedl and Widmer 2012, JMLR 13).

    1 - exp(-d(q,g)^2 / (sigma_q sigma_g)),  d^2 = 2 - 2s

This is a dissimilarity; sigma_g is the distance from g to its k-th nearest bank query. The items of
one query rank in the same order by (s - 1) / sigma_g:

    g' = g / sigma_g (not of unit length), bias(g) = 1 / sigma_g

Sensible values of `k` are 5 to 50.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, full_like, namespace
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import NEIGHBOURS, BankStatistics, Compiled, Method, Params

# Smallest sigma_g. The squared distance of unit vectors in float32 is exact to about 1e-6, so a
# smaller sigma_g would be rounding noise.
LEAST_SIGMA = 1e-3


def query_needs(params: Params) -> Needs:
    return Needs(k=params["k"])


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    squared = 2 - 2 * statistics.query.kth(params["k"])
    floor = full_like(squared, tuple(squared.shape), LEAST_SIGMA**2, "float32")
    sigma = namespace(rows).maximum(squared, floor) ** 0.5
    return Compiled(vectors=rows / sigma[:, None], bias=1 / sigma)


METHOD = Method(
    "local_scaling",
    compile,
    defaults={"k": 10},
    ranges={"k": NEIGHBOURS},
    query_needs=query_needs,
    moves=True,
    grid=tuple({"k": k} for k in (5, 10, 50)),
)
