"""The mean of the biases of several methods, the members.

    bias(g) = (1/m) sum over members of bias_m(g)

All biases are in the unit of the score, so they need no weights, and their mean is one bias: a
search costs what it costs with a single method. Held-out pairs rarely show which of several
good settings is the best one. The mean of them has less variance than the one that did best by
chance, as in an ensemble of models (Breiman 1996, "Bagging predictors", Machine Learning).

A member must have a bias for every item and must not move vectors. In a composition such as
canonical+average, all members are fitted on the moved vectors.
"""

from collections.abc import Mapping
from functools import reduce
from operator import add, or_
from typing import Any

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs
from store.corrections.method import (
    BOTH_BANKS,
    BankStatistics,
    Compiled,
    FitBanks,
    Method,
    Params,
)
from store.corrections.methods import csls, dual_inverted_softmax, inverted_softmax, nnn, sinkhorn
from store.errors import InputError

MEMBERS: dict[str, Method] = {
    method.name: method
    for method in (
        inverted_softmax.METHOD,
        dual_inverted_softmax.METHOD,
        nnn.METHOD,
        csls.METHOD,
        sinkhorn.METHOD,
    )
}


class MemberList:
    """Allowed values of `members`: a list of [name of a method, its parameters]."""

    def check(self, method: str, name: str, value: Any) -> list[list[Any]]:
        """The members with all of their parameters. Raises InputError if one is not valid."""
        try:
            members = [(str(member), dict(params)) for member, params in value]
        except (TypeError, ValueError):
            members = []
        unknown = [member for member, _ in members if member not in MEMBERS]
        if not members or unknown:
            raise InputError(
                f"{name} of {method} must be a list of [method, parameters], the method one of "
                f"{', '.join(MEMBERS)}, not {value!r}"
            )
        return [[member, MEMBERS[member].resolve(params)] for member, params in members]


def _members(params: Params) -> list[tuple[Method, Params]]:
    return [(MEMBERS[name], values) for name, values in params["members"]]


def describe(params: Params) -> str:
    """The members in words, such as "nnn (alpha 0.5, k 16) and csls (k 10)"."""
    words = [
        f"{name} ({', '.join(f'{p} {v:g}' for p, v in values.items())})"
        for name, values in params["members"]
    ]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def query_needs(params: Params) -> Needs:
    return reduce(or_, (m.query_needs(values) for m, values in _members(params)))


def gallery_needs(params: Params) -> Needs:
    return reduce(or_, (m.gallery_needs(values) for m, values in _members(params)))


def state(params: Params, banks: FitBanks) -> dict[str, Any]:
    """The state of each member, by its position."""
    members = enumerate(_members(params))
    return {str(i): member.state(values, banks) for i, (member, values) in members}


def weights(params: Params, state: Mapping[str, Any]) -> dict[float, Array]:
    """The weights of all members. Members with the same beta have the same weights."""
    members = enumerate(_members(params))
    return reduce(or_, (member.weights(values, state[str(i)]) for i, (member, values) in members))


def compile(
    params: Params, state: Mapping[str, Any], rows: Array, statistics: BankStatistics
) -> Compiled:
    members = _members(params)
    biases: list[Array] = [
        member.compile(values, state[str(i)], rows, statistics).bias
        for i, (member, values) in enumerate(members)
    ]
    return Compiled(bias=reduce(add, biases) / len(members))


METHOD = Method(
    "average",
    compile,
    defaults={"members": [["nnn", {}], ["sinkhorn", {}]]},
    ranges={"members": MemberList()},
    query_needs=query_needs,
    gallery_needs=gallery_needs,
    state=state,
    weights=weights,
    banks=BOTH_BANKS,
)
