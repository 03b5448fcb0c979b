"""Dynamic inverted softmax (Bogolin, Croitoru, Jin, Liu and Albanie 2022, "Cross Modal Retrieval
with Querybank Normalisation", CVPR; QB-Norm).

The inverted softmax, used only for the queries whose raw top item is a hub. The paper calls an
item a hub when it is among the top `k` of some bank query in the gallery at hand. Here the k-th
best similarity tau_b of each bank query is fixed on the gallery bank, and g is a hub when
s(b,g) >= tau_b for some b, so that the flag of a new item depends on that item alone. The
published code overwrites its input; this does not. `beta` as for `inverted_softmax`; `k` from 1
to 10.
"""

from dataclasses import replace

from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import BOTH, NEIGHBOURS, Params
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
    banks=BOTH,
    grid=tuple({"beta": beta, "k": 1} for beta in (20.0, 40.0)),
)
