"""Commands about drops: list, rename and remove them."""

import sys
from collections.abc import Collection

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.workspace import Workspace


@click.group(epilog=example("isotrope drop list --corpus corpus"))
def drop() -> None:
    """List the drops; rename or remove one that is no longer delivered."""


@drop.command("list", epilog=example("isotrope drop list --corpus corpus"))
@AS_JSON
@CORPUS
def list_command(folder: str, as_json: bool) -> None:
    """List the drops: their samples, and whether a source still delivers them."""
    from pipelines.removal.drops import list_drops

    states = list(list_drops(Workspace.open(folder)))
    if as_json:
        print_json([state._asdict() for state in states])
        return
    shown = Table("drop", "samples", "")
    for state in states:
        samples = "not read yet" if state.samples is None else f"{state.samples:,}"
        shown.add_row(
            escape(state.name), samples, "" if state.is_delivered else "no longer delivered"
        )
    console.print(shown)
    print_next("run", "drop remove NAME", folder=folder)


@drop.command(epilog=example("isotrope drop remove monday --corpus corpus"))
@CORPUS
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before the removal.")
def remove(folder: str, name: str, yes: bool) -> None:
    """Remove a drop that no source delivers any more. `isotrope run` then updates the tables."""
    if not yes:
        click.confirm(f"Remove all samples of the drop {name!r}?", abort=True)
    _remove(Workspace.open(folder), name)
    print_next("run", folder=folder)


@drop.command(epilog=example("isotrope drop rename monday 2026-11-02 --corpus corpus"))
@CORPUS
@click.argument("old")
@click.argument("new")
def rename(folder: str, old: str, new: str) -> None:
    """Keep the rows of a drop whose folder was renamed from OLD to NEW.

    Without this, the next run reads, measures and embeds the folder as a new drop.
    """
    from orchestration import dagster_home
    from pipelines.removal.rename import rename_drop

    workspace = Workspace.open(folder)
    count = rename_drop(workspace, old, new)
    dagster_home.delete_partition(workspace, old)
    console.print(f"renamed the drop {old!r} to {new!r}: {count:,} samples", markup=False)
    print_next("run", folder=folder)


def handle_lost_drops(workspace: Workspace, delivered: Collection[str]) -> None:
    """Do with drops that no source delivers any more as `lost_drops` of corpus.yaml says."""
    from pipelines.removal.drops import lost_drops

    if workspace.config.lost_drops == "keep":
        return
    for name in lost_drops(workspace, delivered):
        if workspace.config.lost_drops == "remove" or _confirmed(name):
            _remove(workspace, name)


def _confirmed(name: str) -> bool:
    if sys.stdin.isatty():
        return click.confirm(f"The drop {name!r} is no longer delivered. Remove its samples?")
    console.print(
        f"the drop {name!r} is no longer delivered; its samples stay until you run"
        f" `isotrope drop remove {name}`",
        markup=False,
    )
    return False


def _remove(workspace: Workspace, name: str) -> None:
    from orchestration import dagster_home
    from pipelines.removal.drops import remove_drop

    count = remove_drop(workspace, name)
    dagster_home.delete_partition(workspace, name)
    console.print(f"removed {count:,} samples of the drop {name!r}", markup=False)
