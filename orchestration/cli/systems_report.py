"""Prints the comparison of retrieval systems (`isotrope evaluate --systems`)."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from orchestration.cli.console import console

_COLUMNS = ("", "MRR, test", "gain", "95%", "validation, 95%", "ms", "")
_WIDTHS = (9, 5, 6, 16, 16, 5, 11)


def print_systems(figures: Mapping[str, Any]) -> None:
    """Print a table for each direction, with a row for each system."""
    console.print(
        "Mean reciprocal rank of held-out pairs, and gains over corrected search. A system is\n"
        "adopted for a direction if its interval on validation pairs lies above 0; this interval\n"
        "holds for all comparisons together. Use a system by its option of a query, such as\n"
        "--expand: nothing is changed by this command."
    )
    for direction, values in figures.items():
        console.print(f"\n{direction}, {values['queries']:,} queries", style="bold")
        table = Table(box=None, pad_edge=False)
        for name, width in zip(_COLUMNS, _WIDTHS, strict=True):
            table.add_column(name, min_width=width)
        own = values["corrected"]["mean"]
        table.add_row("corrected", f"{own:.3f}", "", "", "", f"{values['milliseconds']:.0f}", "")
        for name, system in values["systems"].items():
            table.add_row(
                name,
                f"{system['mrr']:.3f}",
                f"{system['test']['mean']:+.3f}",
                _interval(system["test"]),
                _interval(system["validation"]),
                f"{system['milliseconds']:.0f}",
                "adopted" if system["adopted"] else "not adopted",
            )
        console.print(table)


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['low']:+.3f} to {value['high']:+.3f}"
