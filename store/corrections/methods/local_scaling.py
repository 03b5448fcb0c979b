"""Local scaling (Zelnik-Manor and Perona 2004, "Self-tuning spectral clustering", NIPS; against
hubness: Schnitzer, Flexer, Schedl and Widmer 2012, JMLR 13).

    1 - exp(-d(q,g)^2 / (sigma_q sigma_g)), a dissimilarity; sigma_g = distance from g to its k-th
    nearest bank query, d^2 = 2 - 2s

For one query the order is that of (s - 1) / sigma_g:

    g' = g / sigma_g (not of unit length), bias(g) = 1 / sigma_g

`k` is sensible from 5 to 50.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array, full_like, namespace
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import NEIGHBOURS, BankStatistics, Compiled, Method, Params

# float32 knows squared distances of unit vectors to about 1e-6; below lies division by noise.
SMALLEST = 1e-3


def query_needs(params: Params) -> Needs:
    return Needs(k=params["k"])


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, look: BankStatistics
) -> Compiled:
    assert look.query is not None
    squared = 2 - 2 * look.query.kth(params["k"])
    floor = full_like(squared, tuple(squared.shape), SMALLEST**2, "float32")
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
