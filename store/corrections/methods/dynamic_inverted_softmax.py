"""Dynamic inverted softmax (Bogolin, Croitoru, Jin, Liu and Albanie 2022, "Cross Modal Retrieval
with Querybank Normalisation", CVPR; QB-Norm).

The inverted softmax, applied only to queries whose raw top item is a hub. In the paper, an item is
a hub if it is among the top `k` of some bank query in the searched gallery. Here the threshold
tau_b is the k-th largest similarity of bank query b to the gallery bank, and g is a hub if
s(b,g) >= tau_b for some b. So the flag of a new item depends on that item and the banks alone. The
published code overwrites its input; this module does not. `beta` is as for `inverted_softmax`;
sensible values of `k` are 1 to 10.
"""

from dataclasses import replace

from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import BOTH_BANKS, NEIGHBOURS, Params
from store.corrections.methods import inverted_softmax


def query_needs(params: Params) -> Needs:
    return inverted_softmax.query_needs(params) | Needs(margins=frozenset({params["k"]}))


METHOD = replace(
    inverted_softmax.METHOD,
    name="dynamic_inverted_softmax",
    defaults={**inverted_softmax.METHOD.defaults, "k": 1},
    ranges={**inverted_softmax.METHOD.ranges, "k": NEIGHBOURS},
    query_needs=query_needs,
    dynamic=True,
    banks=BOTH_BANKS,
    grid=tuple({"beta": beta, "k": 1} for beta in (20.0, 40.0)),
)
