"""Inverted softmax (Smith, Turban, Hamblin and Hammerla 2017, "Offline bilingual word vectors,
orthogonal transformations and the inverted softmax", ICLR).

    exp(beta s(q,g)) / sum_B exp(beta s(b,g))

Its logarithm divided by beta is q.g - bias(g) with

    bias(g) = (1/beta) log sum_B exp(beta s(b,g))

Sensible values of `beta`, the inverse temperature, are 5 to 100 for unit vectors. With a small beta
the bias is the mean similarity of an item to the bank, with a large beta the largest one (both up
to a constant).
"""

from collections.abc import Mapping

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import BETA, BankStatistics, Compiled, Method, Params


def query_needs(params: Params) -> Needs:
    return Needs(betas=frozenset({params["beta"]}))


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    assert statistics.query is not None
    beta = params["beta"]
    return Compiled(bias=statistics.query.log_sum_exp(beta) / beta)


METHOD = Method(
    "inverted_softmax",
    compile,
    defaults={"beta": 20.0},
    ranges={"beta": BETA},
    query_needs=query_needs,
    grid=tuple({"beta": beta} for beta in (5.0, 10.0, 20.0, 40.0, 80.0)),
)
