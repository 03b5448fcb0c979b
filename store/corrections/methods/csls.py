"""Cross-domain similarity local scaling (Conneau, Lample, Ranzato, Denoyer and Jegou 2018, "Word
translation without parallel data", ICLR).

    2 s(q,g) - r(q) - r(g),  r(g) = mean of the k largest s(b,g) over the query bank B

r(q) is the same for all items of a query, so the items rank in the same order by s(q,g) - r(g)/2:

    bias(g) = r(g) / 2

`k` is 10 in the paper; sensible values are 5 to 50.
"""

from collections.abc import Mapping
from dataclasses import replace

from store.corrections.kernels.arrays import Array
from store.corrections.method import NEIGHBOURS, BankStatistics, Compiled, Params
from store.corrections.methods import nnn


def compile(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    return nnn.compile({**params, "alpha": 0.5}, state, rows, statistics)


METHOD = replace(
    nnn.METHOD,
    name="csls",
    compile=compile,
    defaults={"k": 10},
    ranges={"k": NEIGHBOURS},
    grid=tuple({"k": k} for k in (5, 10, 50)),
)
