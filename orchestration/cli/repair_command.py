"""The command repair: damaged tables go back to sound versions."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace

if TYPE_CHECKING:
    from assets.corpus_repair import Repaired


@click.command(epilog=example("isotrope repair --corpus corpus"))
@CORPUS
@click.option("--yes", is_flag=True, help="Also give up what no run can make again.")
@AS_JSON
def repair(folder: str, yes: bool, as_json: bool) -> None:
    """Bring damaged tables back to their newest sound versions.

    All tables are read as a whole. A damaged one goes back to the newest version that can be read
    and whose bytes agree with the checksums; without one, its damaged fragments are left out.
    Unreadable files are moved to the folder _damaged beside the tables; nothing is deleted. Then
    `isotrope run` makes what is missing. If there is a backup, `isotrope restore` may lose less.
    """
    from assets.corpus_repair import repair_corpus

    done = repair_corpus(Workspace.open(folder), yes)
    if as_json:
        print_json(asdict(done))
    else:
        _print(done, yes)
    if done.stale and not as_json:
        print_next("run", folder=folder)
    if done.refused:
        click.echo("--yes repairs the others too, and gives up what they lost", err=True)
        raise click.exceptions.Exit(1)


def _print(done: "Repaired", yes: bool) -> None:
    if not done.tables:
        console.print("every table is sound")
    else:
        table = Table("table", "what was done", "problem")
        for each in done.tables:
            way = f"{each.way} (version {each.base})" if each.base else each.way
            refused = done.refused.get(each.table)
            cells = (each.table, f"not repaired: {refused}" if refused else way, each.problem)
            table.add_row(*map(escape, cells))
        console.print(table)
    for lost in done.lost:
        console.print(f"lost: {escape(lost)}")
    if done.lost and not yes:
        console.print("--yes also deletes the records of lost releases, which `check` reports else")
    if done.stale:
        console.print(f"out of date now: {', '.join(done.stale)}")
