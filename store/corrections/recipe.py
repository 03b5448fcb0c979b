"""The table of all correction methods, and compositions of two of them, such as invgc_local+nnn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from store.corrections.kernels.arrays import Array
from store.corrections.method import BankStatistics, Compiled, Method, Params, keep_queries
from store.corrections.methods import (
    average,
    canonical,
    centered,
    csls,
    dis_sim_local,
    dual_inverted_softmax,
    dynamic_dual_inverted_softmax,
    dynamic_inverted_softmax,
    inverted_softmax,
    invgc,
    invgc_local,
    local_scaling,
    nicdm,
    nnn,
    sinkhorn,
)
from store.errors import InputError


def _unchanged(
    params: Params, state: Mapping[str, Array], rows: Array, statistics: BankStatistics
) -> Compiled:
    return Compiled()


# No correction: g' = g and a bias of zero. All other methods are measured against it.
NONE = Method("none", compile=_unchanged, banks=())

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        NONE,
        inverted_softmax.METHOD,
        dynamic_inverted_softmax.METHOD,
        dual_inverted_softmax.METHOD,
        dynamic_dual_inverted_softmax.METHOD,
        nnn.METHOD,
        csls.METHOD,
        local_scaling.METHOD,
        nicdm.METHOD,
        dis_sim_local.METHOD,
        invgc.METHOD,
        invgc_local.METHOD,
        sinkhorn.METHOD,
        centered.METHOD,
        canonical.METHOD,
        average.METHOD,
    )
}
JOIN = "__"  # invgc_local__k is the parameter k of invgc_local


@dataclass(frozen=True)
class Recipe:
    """A method that may move vectors, then a method that computes the bias of the moved vectors.

    Attributes:
        name: name of the method, or both names joined by "+".
        first: the method that moves vectors; `NONE` if there is none.
        first_params: all parameters of `first`.
        second: the method for the moved vectors; `NONE` if there is none.
        second_params: all parameters of `second`.
    """

    name: str
    first: Method
    first_params: Params
    second: Method
    second_params: Params

    @property
    def params(self) -> Params:
        """All parameters; in a composition their names are method__parameter."""
        if "+" not in self.name:
            return {**self.first_params, **self.second_params}
        parts = ((self.first, self.first_params), (self.second, self.second_params))
        return {f"{m.name}{JOIN}{name}": v for m, params in parts for name, v in params.items()}

    @property
    def moves(self) -> bool:
        """Whether g' differs from g."""
        return self.first.moves or self.second.moves

    @property
    def dynamic(self) -> bool:
        """Whether it corrects only the queries whose raw top item is flagged as a hub."""
        return self.second.dynamic

    @property
    def spec(self) -> tuple[str, Params]:
        """Name and parameters, from which `recipe` makes this recipe again."""
        return self.name, self.params

    @property
    def banks(self) -> set[str]:
        """Argument names of the banks that it is fitted on."""
        return {*self.first.banks, *self.second.banks}

    @property
    def can_average(self) -> bool:
        """Whether its bias can be a member of an average."""
        return self.second.name in average.MEMBERS

    @property
    def title(self) -> str:
        """The name, and what is averaged if anything is."""
        if self.second is not average.METHOD:
            return self.name
        return f"{self.name}, of {average.describe(self.second_params)},"

    @property
    def key(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Equal for recipes that move vectors in the same way."""
        return self.first.name, tuple(sorted(self.first_params.items()))


def find_method(name: str) -> Method:
    """The method of that name. Raises InputError if there is none."""
    if name not in METHODS:
        raise InputError(
            f"there is no correction called {name!r}; the methods are {', '.join(METHODS)}; a "
            "method that moves vectors can be joined to another with '+', as in invgc_local+nnn"
        )
    return METHODS[name]


def recipe(name: str, params: Params | None = None) -> Recipe:
    """The recipe of a method, or of a composition of two, with validated parameters.

    Args:
        name: name of a method, or two names joined by "+".
        params: parameters; the others keep their defaults. In a composition, a parameter that only
            one of the methods has may be given by its plain name, any other as method__parameter.

    Raises:
        InputError: a name is unknown, a value is not allowed, or the methods cannot be composed.
    """
    params = dict(params or {})
    methods = [find_method(part.strip()) for part in str(name).split("+")]
    if len(methods) == 1:
        method = methods[0]
        if method.composes:
            return Recipe(method.name, method, method.resolve(params), NONE, {})
        return Recipe(method.name, NONE, {}, method, method.resolve(params))
    composable = len(methods) == 2 and methods[0].composes
    if not composable or methods[1].composes or methods[1].name == NONE.name:
        movers = " or ".join(m.name for m in METHODS.values() if m.composes)
        raise InputError(f"{name!r} cannot be composed: use {movers}, then '+', then a bias method")
    first, second = methods
    if second.dynamic and first.move_queries is not keep_queries:
        raise InputError(
            f"{name!r} cannot be composed: {first.name} has a bias of its own, and {second.name}"
            " corrects some queries only"
        )
    first_params, second_params = _split_params(first, second, params)
    return Recipe(
        f"{first.name}+{second.name}",
        first,
        first.resolve(first_params),
        second,
        second.resolve(second_params),
    )


def average_of(recipes: Sequence[Recipe]) -> Recipe:
    """The recipe of the mean of biases. The recipes move vectors alike and `can_average`."""
    first, method = recipes[0], average.METHOD
    name = method.name if first.first is NONE else f"{first.first.name}+{method.name}"
    members = [[r.second.name, r.second_params] for r in recipes]
    return Recipe(
        name, first.first, first.first_params, method, method.resolve({"members": members})
    )


def _split_params(first: Method, second: Method, params: Params) -> tuple[Params, Params]:
    """The parameters of a composition, by the method that each belongs to."""
    methods = (first, second)
    split: tuple[Params, Params] = ({}, {})
    for parameter, value in params.items():
        prefix, _, plain = parameter.rpartition(JOIN)
        owners = [
            i for i, m in enumerate(methods) if plain in m.defaults and prefix in ("", m.name)
        ]
        if len(owners) != 1:
            allowed = [f"{m.name}{JOIN}{p}" for m in methods for p in m.defaults]
            raise InputError(
                f"parameter {parameter!r} of {first.name}+{second.name} is "
                f"{'ambiguous' if owners else 'unknown'}; its parameters: {', '.join(allowed)}"
            )
        split[owners[0]][plain] = value
    return split
