"""The command status: what is made, what is out of date and why, and what to do next."""

from dataclasses import asdict

import click

from orchestration.cli.options import AS_JSON, CORPUS, example
from orchestration.cli.quantities import time_text
from store.tables.stages import stage_of


@click.command(epilog=example("isotrope status --corpus corpus"))
@CORPUS
@AS_JSON
def status(folder: str, as_json: bool) -> None:
    """Show what is made, and what is out of date and why.

    Nothing is made. The time of a run is estimated from earlier runs of this corpus.
    """
    from rich.table import Table

    from orchestration.cli.console import console, print_json, print_next
    from pipelines.estimate.status import corpus_status
    from store.workspace import Workspace

    shown = corpus_status(Workspace.open(folder))
    if as_json:
        print_json(asdict(shown))
        return
    table = Table("stage")
    table.add_column("kept", justify="right")
    table.add_column("state")
    table.add_column("time of a run", justify="right")
    for stage in shown.stages:
        by_drop = stage_of(stage.stage).by_drop
        states = [
            f"{reason} ({drops:,} drops)" if by_drop else reason
            for reason, drops in stage.stale.items()
        ]
        time = "?" if stage.seconds is None else time_text(stage.seconds)
        table.add_row(
            stage.stage,
            f"{stage.kept:,}",
            "\n".join(states) or "up to date",
            time if states else "",
            style="yellow" if states else None,
        )
    console.print(table)
    if shown.release is None:
        console.print("there is no release yet: nothing can be searched")
    else:
        console.print(f"release {shown.release} is searched")
    if any(stage.stale for stage in shown.stages):
        print_next("run", folder=folder)
    else:
        print_next('search "a striped cat"', "open explorer", folder=folder)
