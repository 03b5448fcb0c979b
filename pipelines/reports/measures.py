"""The measures of an evaluation: their order, names and formats in terminal, pages and Dagster."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """A measure of `store.corrections.Evaluation`.

    Attributes:
        key: its key in an evaluation.
        short: its name in narrow tables.
        label: its name elsewhere.
        form: its format.
        better: 1 if more is better, else -1.
    """

    key: str
    short: str
    label: str
    form: str
    better: int

    @property
    def decimal(self) -> str:
        """The format for tables of plain numbers: a share as 0.125 instead of 12.5%."""
        return ".3f" if self.form.endswith("%") else self.form


MEASURES = (
    Measure("r@1", "R@1", "R@1", ".1%", 1),
    Measure("r@5", "R@5", "R@5", ".1%", 1),
    Measure("r@10", "R@10", "R@10", ".1%", 1),
    Measure("mrr", "MRR", "Mean reciprocal rank", ".3f", 1),
    Measure("map", "mAP", "Mean average precision", ".3f", 1),
    Measure("ndcg@10", "nDCG@10", "nDCG@10", ".3f", 1),
    Measure("median_rank", "median rank", "Median rank", ",.1f", -1),
    Measure("k_skewness", "k-skewness", "k-occurrence skewness", ".2f", -1),
    Measure("robin_hood", "Robin Hood", "Robin Hood index", ".3f", -1),
    Measure("hub_share", "hub share", "Hubs' share of the top tens", ".1%", -1),
    Measure("anti_hub_share", "anti-hubs", "Items in no top ten", ".1%", -1),
)
GEOMETRY = {
    "alignment": "alignment",
    "uniformity": "uniformity",
    "modality_gap": "modality gap",
}


def measures_of(figures: Mapping[str, Any]) -> list[Measure]:
    """The measures in the evaluation of one direction; that of an older release has fewer."""
    return [m for m in MEASURES if m.key in figures.get("raw", {})]


def sides(figures: Mapping[str, Any], method: str) -> list[str]:
    """What to compare: "raw" and "corrected", or "raw" alone if nothing was corrected."""
    return ["raw"] if method == "none" else [s for s in ("raw", "corrected") if s in figures]


def searched(figures: Mapping[str, Any]) -> str:
    """What was ranked, such as "409 items (searched without the 475 items of the bank)"."""
    left_out = figures.get("left_out", 0)  # releases of older versions searched all items
    without = f" (searched without the {left_out:,} items of the bank)" if left_out else ""
    return f"{figures['gallery']:,} items{without}"


def plain(value: Any, form: str = ".3f") -> str:
    """A number as text; a dash for None, NaN and infinity."""
    return format(value, form) if value is not None and math.isfinite(value) else "–"


def ends(interval: Mapping[str, Any] | None, form: str = ".3f") -> str:
    """The ends of an interval as text; "" without an interval."""
    if interval is None:
        return ""
    return f"{plain(interval['low'], form)} to {plain(interval['high'], form)}"
