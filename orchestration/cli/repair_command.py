"""The command repair: damaged tables go back to sound versions."""

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.workspace import Workspace


@click.command()
@CORPUS
@click.option("--yes", is_flag=True, help="Also give up what no run can make again.")
def repair(folder: str, yes: bool) -> None:
    """Bring damaged tables back to their newest sound versions.

    All tables are read as a whole. A damaged one goes back to the newest version that can be read
    and whose bytes agree with the checksums; without one, its damaged fragments are left out.
    Unreadable files are moved to the folder _damaged beside the tables; nothing is deleted. Then
    `isotrope run` makes what is missing. If there is a backup, `isotrope restore` may lose less.
    """
    from assets.corpus_repair import repair_corpus

    done = repair_corpus(Workspace.open(folder), yes)
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
        console.print(f"out of date now: {', '.join(done.stale)}; next: isotrope run")
    if done.refused:
        console.print("--yes repairs the others too, and gives up what they lost")
        raise click.exceptions.Exit(1)
