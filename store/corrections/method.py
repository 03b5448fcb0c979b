"""What a correction method is: a name, parameters, what it must see of the banks, and a formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from store.corrections.kernels.arrays import Array
from store.corrections.kernels.bank_scan import Needs, ScanResult
from store.errors import InputError

Params = dict[str, Any]


@dataclass(frozen=True)
class FitBanks:
    """The fixed samples that corrections are measured on: unit float32 rows.

    `query` (B) is of the modality that asks, `gallery` (G-hat) of the one that is searched.
    """

    query: Array
    gallery: Array
    query_ids: Any = None
    gallery_ids: Any = None


class BankStatistics(NamedTuple):
    """What a block of gallery rows saw of each bank; None for a bank nobody needed."""

    query: ScanResult | None
    gallery: ScanResult | None


class Compiled(NamedTuple):
    """Gallery vectors (n, d), or None for unmoved, and bias (n,), or None for zero."""

    vectors: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class Range:
    """The values that a parameter may take, ends included; `whole` for integers."""

    low: float
    high: float
    whole: bool = False

    def check(self, method: str, name: str, value: Any) -> float | int:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not self.low <= number <= self.high or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            raise InputError(
                f"{name} of {method} must be {kind} from {self.low:g} to {self.high:g}, "
                f"not {value!r}"
            )
        return int(number) if self.whole else number


def no_needs(params: Params) -> Needs:
    return Needs()


def no_state(params: Params, banks: FitBanks) -> dict[str, Array]:
    return {}


@dataclass(frozen=True)
class Method:
    """One correction. `compile` turns a block of gallery rows and what it saw into g' and bias.

    `compile(params, state, rows, look)` must depend on each row alone; `state(params, banks)` is
    computed once from the banks. `dynamic` methods correct only the queries whose raw top item is
    flagged as a hub, by the threshold rank `params["k"]`. `moves` is true where g' is not g, and
    `composes` where a method for the moved vectors may follow after a "+". `banks` are the banks
    it is measured on. `grid` are the settings that `select` tries.
    """

    name: str
    compile: Callable[[Params, Mapping[str, Array], Array, BankStatistics], Compiled]
    defaults: Params = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    query_needs: Callable[[Params], Needs] = no_needs
    gallery_needs: Callable[[Params], Needs] = no_needs
    state: Callable[[Params, FitBanks], dict[str, Array]] = no_state
    dynamic: bool = False
    moves: bool = False
    composes: bool = False
    banks: tuple[str, ...] = ("query_bank",)
    grid: tuple[Params, ...] = ({},)

    def resolve(self, given: Params) -> Params:
        """Defaults overlaid with what was given; InputError for unknown names and bad values."""
        unknown = sorted(set(given) - set(self.defaults))
        if unknown:
            allowed = ", ".join(self.defaults) or "none"
            raise InputError(
                f"{self.name} has no parameter {', '.join(unknown)}; its parameters: {allowed}"
            )
        return {
            name: self.ranges[name].check(self.name, name, value)
            for name, value in (self.defaults | given).items()
        }


BETA = Range(1e-3, 1e4)
NEIGHBOURS = Range(1, 1e6, whole=True)
STRENGTH = Range(0, 10)
BOTH = ("query_bank", "gallery_bank")
