"""Nearest neighbour normalisation (Chowdhury, Chan, Menghini, Bhatt, Ranjan, Poovendran and Krishna
2024, "Nearest Neighbor Normalization Improves Multimodal Retrieval", EMNLP).

    s(q,g) - alpha * mean of the k largest s(b,g) over the query bank B

    bias(g) = alpha * mean top-k_B s(b,g)

Sensible values of `alpha` are 0.25 to 1, of `k` 1 to 256 for banks of 1,000 rows and more.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import NEIGHBOURS, STRENGTH, BankStatistics, Compiled, Method, Params


def query_needs(params: Params) -> Needs:
    return Needs(k=params["k"])


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    return Compiled(bias=params["alpha"] * statistics.query.top_mean(params["k"]))


METHOD = Method(
    "nnn",
    compile,
    defaults={"alpha": 0.75, "k": 16},
    ranges={"alpha": STRENGTH, "k": NEIGHBOURS},
    query_needs=query_needs,
    grid=tuple(
        {"alpha": alpha, "k": k} for alpha in (0.25, 0.5, 0.75, 1.0) for k in (4, 16, 64, 256)
    ),
)
