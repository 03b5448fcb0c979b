"""Prints the figures of the stress evaluation (`isotrope evaluate --stress`)."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from orchestration.cli.console import console

_TITLES = {
    "composition": "composition: share of parts nearer to their text than to a changed one",
    "damage": "damage: reciprocal rank of whole queries, and what damaged ones lose",
    "consistency": "consistency: the same samples asked by their other parts",
    "imbalance": "imbalance: reciprocal ranks of a direction less those of the reverse one",
}


def print_stress(figures: Mapping[str, Any]) -> None:
    """Print each part as a table, with 95% intervals."""
    console.print(f"{figures['samples']:,} test samples, corrected searches of whole galleries")
    for part, title in _TITLES.items():
        console.print()
        console.print(title, style="bold")
        if not figures[part]:
            console.print("no test samples for this part", style="dim")
            continue
        table = Table("", "", "mean", "95%", "", box=None, pad_edge=False)
        for name, values in figures[part].items():
            if "mean" in values:
                table.add_row(name, "", *_cells(values))
                continue
            for measure, value in values.items():
                if isinstance(value, dict):
                    table.add_row(name, measure, *_cells(value))
        console.print(table)


def _cells(value: Mapping[str, Any]) -> tuple[str, str, str]:
    passes = {True: "passes", False: "fails", None: ""}[value.get("passes")]
    return f"{value['mean']:+.3f}", f"{value['low']:+.3f} to {value['high']:+.3f}", passes
