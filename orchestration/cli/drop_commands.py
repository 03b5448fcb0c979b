"""Commands about drops: list and remove them."""

import sys
from collections.abc import Collection

import click
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.workspace import Workspace


@click.group()
def drop() -> None:
    """List the drops, or remove one that is no longer delivered."""


@drop.command("list")
@CORPUS
def list_command(folder: str) -> None:
    """List the drops: their samples, and whether a source still delivers them."""
    from pipelines.removal.drops import list_drops

    shown = Table("drop", "samples", "")
    for state in list_drops(Workspace.open(folder)):
        samples = "not read yet" if state.samples is None else f"{state.samples:,}"
        shown.add_row(
            escape(state.name), samples, "" if state.is_delivered else "no longer delivered"
        )
    console.print(shown)


@drop.command()
@CORPUS
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before the removal.")
def remove(folder: str, name: str, yes: bool) -> None:
    """Remove a drop that no source delivers any more. `isotrope run` then updates the tables."""
    if not yes:
        click.confirm(f"Remove all samples of the drop {name!r}?", abort=True)
    _remove(Workspace.open(folder), name)


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
