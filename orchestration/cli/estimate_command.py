"""The command estimate: what a run will take."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orchestration.cli.options import AS_JSON, CORPUS, example
from orchestration.cli.quantities import size_text, time_text

if TYPE_CHECKING:
    from pipelines.estimate.estimate import Estimate


@click.command(epilog=example("isotrope estimate --corpus corpus"))
@CORPUS
@click.option("--drop", help="Of the stages that are made by drop, only those of this one.")
@AS_JSON
def estimate(folder: str, drop: str | None, as_json: bool) -> None:
    """Estimate time, disk and cost of the next run.

    Nothing is made. Records are counted in the sources. Rates are those of earlier runs of this
    corpus.
    """
    from rich.table import Table

    from orchestration.cli.console import console, print_json, print_next
    from pipelines.estimate.estimate import estimate as estimate_stages
    from store.workspace import Workspace

    workspace = Workspace.open(folder)
    estimates = estimate_stages(workspace, drop)
    if as_json:
        print_json([asdict(each) for each in estimates])
        return
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
    table.add_row("all", "", "", time_text(seconds), size_text(size), total, "", style="bold")
    console.print(table)
    if unknown := [each.stage for each in estimates if each.rate is None]:
        console.print(f"not measured yet: {', '.join(unknown)}; run one small drop first")
    print_next("run" if drop is None else f"run --drop {shlex.quote(drop)}", folder=folder)


def _figures(each: "Estimate") -> tuple[str, str, str, str]:
    if each.seconds is None or each.bytes is None or each.rate is None:
        return "?", "?", "", "-"
    cost = "" if each.cost is None else f"{each.cost:,.2f}"
    return time_text(each.seconds), size_text(each.bytes), cost, f"{each.rate.records:,}"
