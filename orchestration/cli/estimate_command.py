"""The command estimate: what a run will take."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from orchestration.cli.options import CORPUS

if TYPE_CHECKING:
    from pipelines.estimate.estimate import Estimate

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@click.command()
@CORPUS
@click.option("--drop", help="Of the stages that are made by drop, only those of this one.")
def estimate(folder: str, drop: str | None) -> None:
    """Estimate time, disk and cost of the next run.

    Nothing is made. Records are counted in the sources. Rates are those of earlier runs of this
    corpus.
    """
    from rich.table import Table

    from orchestration.cli.console import console
    from pipelines.estimate.estimate import estimate as estimate_stages
    from store.workspace import Workspace

    workspace = Workspace.open(folder)
    estimates = estimate_stages(workspace, drop)
    if not estimates:
        console.print("everything is up to date")
        return
    table = Table("stage", "drops")
    for head in ("records", "time", "disk", "cost", "measured on"):
        table.add_column(head, justify="right")
    for each in estimates:
        table.add_row(each.stage, str(each.drops or "all"), f"{each.input:,}", *_figures(each))
    seconds, size = (sum(getattr(e, name) or 0 for e in estimates) for name in ("seconds", "bytes"))
    costs = [each.cost for each in estimates if each.cost is not None]
    total = f"{sum(costs):,.2f}" if costs else ""
    table.add_row("all", "", "", _time(seconds), _size(size), total, "", style="bold")
    console.print(table)
    if unknown := [each.stage for each in estimates if each.rate is None]:
        console.print(f"not measured yet: {', '.join(unknown)}; run one small drop first")


def _figures(each: "Estimate") -> tuple[str, str, str, str]:
    if each.seconds is None or each.bytes is None or each.rate is None:
        return "?", "?", "", "-"
    cost = "" if each.cost is None else f"{each.cost:,.2f}"
    return _time(each.seconds), _size(each.bytes), cost, f"{each.rate.records:,}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _size(size: float) -> str:
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"
