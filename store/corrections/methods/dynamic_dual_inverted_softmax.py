"""Dynamic dual inverted softmax (DualDIS of Wang, Jian and Xue 2023, "Balance Act: Mitigating
Hubness in Cross-Modal Retrieval with Query and Gallery Banks", EMNLP).

The dual inverted softmax, applied only to queries whose raw top item is a hub. The rule for hubs is
that of `dynamic_inverted_softmax`: an item is a hub if its similarity to some bank query reaches
the `k`-th largest similarity of that query to the gallery bank.
"""

from dataclasses import replace

from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import BOTH_BANKS, NEIGHBOURS, Params
from store.corrections.methods import dual_inverted_softmax


def query_needs(params: Params) -> Needs:
    return dual_inverted_softmax.query_needs(params) | Needs(margins=frozenset({params["k"]}))


METHOD = replace(
    dual_inverted_softmax.METHOD,
    name="dynamic_dual_inverted_softmax",
    defaults={**dual_inverted_softmax.METHOD.defaults, "k": 1},
    ranges={**dual_inverted_softmax.METHOD.ranges, "k": NEIGHBOURS},
    query_needs=query_needs,
    dynamic=True,
    banks=BOTH_BANKS,
    grid=tuple({"beta_query": beta, "beta_gallery": 1.0, "k": 1} for beta in (20.0, 40.0)),
)
