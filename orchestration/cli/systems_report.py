"""Prints the comparison of retrieval systems (`isotrope evaluate --systems`)."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from orchestration.cli.console import console


def print_systems(figures: Mapping[str, Any]) -> None:
    """Print a row for each direction and system, with 95% intervals of the gains."""
    console.print(
        "Mean reciprocal rank of held-out pairs. A system is adopted for a direction if its gain\n"
        "over corrected search is surely above 0 on validation pairs. Use it by its option of a\n"
        "query, such as --expand: nothing is changed by this command.\n"
    )
    columns = ("", "", "MRR, test", "gain, validation", "gain, test", "ms a query", "")
    table = Table(*columns, box=None, pad_edge=False)
    for direction, values in figures.items():
        own = values["corrected"]["mean"]
        title = f"{direction} ({values['queries']:,})"
        table.add_row(title, "corrected", f"{own:.3f}", "", "", f"{values['milliseconds']:.1f}", "")
        for name, system in values["systems"].items():
            table.add_row(
                "",
                name,
                f"{system['mrr']:.3f}",
                _gain(system["validation"]),
                _gain(system["test"]),
                f"{system['milliseconds']:.1f}",
                "adopted" if system["adopted"] else "not adopted",
            )
    console.print(table)


def _gain(value: Mapping[str, float]) -> str:
    return f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})"
