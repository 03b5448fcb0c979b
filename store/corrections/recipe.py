"""Names into methods: the table of all corrections, and compositions such as invgc_local+nnn."""

from dataclasses import dataclass
from typing import Any

from store.corrections.method import Compiled, Method, Params
from store.corrections.methods import (
    centered,
    csls,
    dual_inverted_softmax,
    dynamic_dual_inverted_softmax,
    dynamic_inverted_softmax,
    inverted_softmax,
    invgc,
    invgc_local,
    local_scaling,
    nnn,
)
from store.errors import InputError

# No correction: g' = g and a bias of zero. Every other method is measured against it.
NONE = Method("none", compile=lambda params, state, rows, look: Compiled(), banks=())

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
        invgc.METHOD,
        invgc_local.METHOD,
        centered.METHOD,
    )
}
JOIN = "__"  # invgc_local__k: the parameter k of invgc_local


@dataclass(frozen=True)
class Recipe:
    """A method that may move vectors, then one that measures the bias of the moved vectors.

    `first` is "none" where nothing moves; `second` is "none" where nothing follows.
    """

    name: str
    first: Method
    first_params: Params
    second: Method
    second_params: Params

    @property
    def params(self) -> Params:
        """Every parameter used; those of a composition are called method__parameter."""
        if "+" not in self.name:
            return {**self.first_params, **self.second_params}
        parts = ((self.first, self.first_params), (self.second, self.second_params))
        return {f"{m.name}{JOIN}{name}": v for m, params in parts for name, v in params.items()}

    @property
    def moves(self) -> bool:
        """Whether g' is not g."""
        return self.first.moves or self.second.moves

    @property
    def dynamic(self) -> bool:
        """Whether it corrects only the queries whose raw top item is flagged as a hub."""
        return self.second.dynamic

    @property
    def spec(self) -> tuple[str, Params]:
        """What makes this recipe again."""
        return self.name, self.params

    @property
    def banks(self) -> set[str]:
        """The banks, by argument name, that it is measured on."""
        return {*self.first.banks, *self.second.banks}

    @property
    def key(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """What recipes that move vectors in the same way have in common."""
        return self.first.name, tuple(sorted(self.first_params.items()))


def find(name: str) -> Method:
    if name not in METHODS:
        raise InputError(
            f"there is no correction called {name!r}; there are {', '.join(METHODS)}; "
            "one that moves vectors can be joined to another with '+', as in invgc_local+nnn"
        )
    return METHODS[name]


def recipe(name: str, params: Params | None = None) -> Recipe:
    """The recipe of a method name and its parameters, validated.

    In a composition a parameter may be given by its plain name where only one part has it, and
    else as method__parameter. Raises InputError for unknown names and bad values.
    """
    params = dict(params or {})
    parts = [find(part.strip()) for part in str(name).split("+")]
    if len(parts) == 1:
        method = parts[0]
        nothing = METHODS["none"]
        if method.composes:
            return Recipe(method.name, method, method.resolve(params), nothing, {})
        return Recipe(method.name, nothing, {}, method, method.resolve(params))
    if len(parts) != 2 or not parts[0].composes or parts[1].composes or parts[1].name == "none":
        movers = " or ".join(m.name for m in METHODS.values() if m.composes)
        raise InputError(
            f"{name!r} cannot be composed: only {movers}, then '+', then a bias method"
        )
    given: tuple[Params, Params] = ({}, {})
    for parameter, value in params.items():
        owner, _, plain = parameter.rpartition(JOIN)
        owners = [
            i for i, part in enumerate(parts) if plain in part.defaults and owner in ("", part.name)
        ]
        if len(owners) != 1:
            allowed = [f"{part.name}{JOIN}{p}" for part in parts for p in part.defaults]
            raise InputError(
                f"parameter {parameter!r} of {name} is {'ambiguous' if owners else 'unknown'}; "
                f"its parameters: {', '.join(allowed)}"
            )
        given[owners[0]][plain] = value
    first, second = parts
    return Recipe(
        f"{first.name}+{second.name}",
        first,
        first.resolve(given[0]),
        second,
        second.resolve(given[1]),
    )
