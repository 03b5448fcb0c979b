"""Dual inverted softmax (Wang, Jian and Xue 2023, "Balance Act: Mitigating Hubness in Cross-Modal
Retrieval with Query and Gallery Banks", EMNLP; DBNorm).

The product of the inverted softmaxes over a bank of queries B and a bank of gallery items H:

    exp(beta1 s(q,g)) / sum_B exp(beta1 s(b,g))  *  exp(beta2 s(q,g)) / sum_H exp(beta2 s(h,g))

    bias(g) = [lse_B(beta1 s(b,g)) + lse_H(beta2 s(h,g))] / (beta1 + beta2)

with beta1 = `beta_query` and beta2 = `beta_gallery`; sensible values of both are 1 to 50. The
function `db_norm` of the published code ignores one of its arguments; this module follows the
formula.
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import BETA, BOTH_BANKS, BankStatistics, Compiled, Method, Params


def query_needs(params: Params) -> Needs:
    return Needs(betas=frozenset({params["beta_query"]}))


def gallery_needs(params: Params) -> Needs:
    return Needs(betas=frozenset({params["beta_gallery"]}))


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    assert statistics.gallery is not None
    beta1, beta2 = params["beta_query"], params["beta_gallery"]
    both = statistics.query.log_sum_exp(beta1) + statistics.gallery.log_sum_exp(beta2)
    return Compiled(bias=both / (beta1 + beta2))


METHOD = Method(
    "dual_inverted_softmax",
    compile,
    defaults={"beta_query": 20.0, "beta_gallery": 1.0},
    ranges={"beta_query": BETA, "beta_gallery": BETA},
    query_needs=query_needs,
    gallery_needs=gallery_needs,
    banks=BOTH_BANKS,
    grid=tuple({"beta_query": beta, "beta_gallery": 1.0} for beta in (10.0, 20.0, 40.0)),
)
