"""Types of a correction method: its name, parameters, the bank statistics it needs, its formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.errors import InputError

Params = dict[str, Any]


@dataclass(frozen=True)
class FitBanks:
    """The fixed samples that corrections are fitted on: float32 rows of unit length.

    Attributes:
        query: (m, d) the query bank B, of the modality of the queries.
        gallery: (l, d) the gallery bank H, of the modality that is searched.
        query_ids: (m,) ids of samples or duplicate clusters, or None.
        gallery_ids: (l,) ids of samples or duplicate clusters, or None.
    """

    query: Array
    gallery: Array
    query_ids: Any = None
    gallery_ids: Any = None


class BankStatistics(NamedTuple):
    """Statistics of each bank for a block of gallery rows; None for a bank that is not needed."""

    query: ScanResult | None
    gallery: ScanResult | None


class Compiled(NamedTuple):
    """Gallery vectors (n, d), or None if they are unchanged; bias (n,), or None if it is zero."""

    vectors: Array | None = None
    bias: Array | None = None


class Allowed(Protocol):
    """Allowed values of a parameter."""

    def check(self, method: str, name: str, value: Any) -> Any:
        """`value` in its usual form. Raises InputError if it is not allowed."""


@dataclass(frozen=True)
class Range:
    """Allowed values of a parameter, ends included; `integer` allows whole numbers only."""

    low: float
    high: float
    integer: bool = False

    def check(self, method: str, name: str, value: Any) -> float | int:
        """`value` as a number. Raises InputError if it is not in the range."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not self.low <= number <= self.high or (self.integer and number != int(number)):
            kind = "a whole number" if self.integer else "a number"
            raise InputError(
                f"{name} of {method} must be {kind} from {self.low:g} to {self.high:g}, "
                f"not {value!r}"
            )
        return int(number) if self.integer else number


def no_needs(params: Params) -> Needs:
    return Needs()


def no_state(params: Params, banks: FitBanks) -> dict[str, Array]:
    return {}


def no_weights(params: Params, state: Mapping[str, Array]) -> dict[float, Array]:
    return {}


class MovedQueries(NamedTuple):
    """The queries that the second method of a composition is fitted on.

    Attributes:
        rows: (m, d) float32 of unit length.
        scale: one unit of their scores is `scale` units of q . g'.
        offset: (d,) what was subtracted from the queries, or None. A score of the moved query is
            q . g' - offset . g', divided by its length before it was scaled to unit length.
    """

    rows: Array
    scale: float = 1.0
    offset: Array | None = None

    def fold(self, vectors: Array | None, bias: Array) -> Array:
        """A bias (n,) for scores of the moved queries, as a bias for q . g'. `vectors` are g'."""
        return bias if self.offset is None else vectors @ self.offset + self.scale * bias


def keep_queries(params: Params, state: Mapping[str, Array], queries: Array) -> MovedQueries:
    return MovedQueries(queries)


@dataclass(frozen=True)
class Method:
    """One correction method.

    Attributes:
        name: its name in corpus.yaml and in tables.
        compile: `compile(params, state, rows, statistics)` computes g' and bias of a block of
            gallery rows (n, d). The values of a row depend on that row alone.
        defaults: default values of all parameters.
        ranges: allowed values of each parameter.
        query_needs: the statistics of the query bank that it needs, from its parameters.
        gallery_needs: the statistics of the gallery bank that it needs, from its parameters.
        state: `state(params, banks)` computes arrays once from the banks.
        state_params: names of the parameters that `state` depends on. Settings that are equal in
            them share one state.
        weights: `weights(params, state)` returns the weights (m,) of the bank queries for each beta
            in the `weighted` needs.
        move_queries: `move_queries(params, state, queries)` returns the bank queries that a second
            method is fitted on; see `MovedQueries`.
        dynamic: True if it corrects only the queries whose raw top item is flagged as a hub. The
            threshold of the flag has the rank `params["k"]`.
        moves: True if g' differs from g.
        composes: True if a method for the moved vectors may follow after a "+".
        banks: argument names of the banks that it is fitted on.
        grid: the settings that `select` tries.
    """

    name: str
    compile: Callable[[Params, Mapping[str, Array], Array, BankStatistics], Compiled]
    defaults: Params = field(default_factory=dict)
    ranges: Mapping[str, Allowed] = field(default_factory=dict)
    query_needs: Callable[[Params], Needs] = no_needs
    gallery_needs: Callable[[Params], Needs] = no_needs
    state: Callable[[Params, FitBanks], dict[str, Array]] = no_state
    state_params: tuple[str, ...] = ()
    weights: Callable[[Params, Mapping[str, Array]], dict[float, Array]] = no_weights
    move_queries: Callable[[Params, Mapping[str, Array], Array], MovedQueries] = keep_queries
    dynamic: bool = False
    moves: bool = False
    composes: bool = False
    banks: tuple[str, ...] = ("query_bank",)
    grid: tuple[Params, ...] = ({},)

    def resolve(self, params: Params) -> Params:
        """All parameters: the defaults, overridden by `params`.

        Raises:
            InputError: a parameter is unknown or its value is not allowed.
        """
        unknown = sorted(set(params) - set(self.defaults))
        if unknown:
            allowed = ", ".join(self.defaults) or "none"
            raise InputError(
                f"{self.name} has no parameter {', '.join(unknown)}; its parameters: {allowed}"
            )
        return {
            name: self.ranges[name].check(self.name, name, value)
            for name, value in (self.defaults | params).items()
        }


BETA = Range(1e-3, 1e4)
NEIGHBOURS = Range(1, 1e6, integer=True)
STRENGTH = Range(0, 10)
BOTH_BANKS = ("query_bank", "gallery_bank")
