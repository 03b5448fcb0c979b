"""The command takedown: removes content from every table and release of a corpus."""

from pathlib import Path

import click

from orchestration.cli.console import console, print_next
from orchestration.cli.options import CORPUS, example
from store.errors import InputError, NotFoundError
from store.workspace import Workspace


@click.command(epilog=example("isotrope takedown --key animals/cat-17 --dry-run"))
@CORPUS
@click.option("--id", "ids", multiple=True, help="A sample, by its id.")
@click.option("--part", "parts", multiple=True, help="A part; every sample that has it goes.")
@click.option("--key", "keys", multiple=True, help="All records with this key.")
@click.option("--source", "sources", multiple=True, help="All records of this shard or folder.")
@click.option("--drop", help="Match --key and --source only in this drop.")
@click.option(
    "--file",
    "lists",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A list: id=ID, part=ID, key=KEY or source=SOURCE, one a line.",
)
@click.option("--reason", default="", help="Kept in the receipt. It should name no person.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and change nothing.")
@click.option("--resume", "resumes", is_flag=True, help="Finish a takedown that was interrupted.")
@click.option("--yes", is_flag=True, help="Do not ask before the removal.")
def takedown(
    folder: str,
    ids: tuple[str, ...],
    parts: tuple[str, ...],
    keys: tuple[str, ...],
    sources: tuple[str, ...],
    drop: str | None,
    lists: tuple[Path, ...],
    reason: str,
    dry_run: bool,
    resumes: bool,
    yes: bool,
) -> None:
    """Remove samples for good, from all tables and kept releases.

    Their bytes are deleted from the disk or the object store, with caches and pages. Kept
    releases open and search as before, without the samples. The same content is rejected if it is
    delivered again. Parts that other samples have too stay, unless --part names them.

    Running stages are waited for; searches go on. If the command is interrupted, no stage starts
    until `isotrope run` or --resume has finished it. Then `isotrope run` makes a new release.

    Shards of exports that hold a removed sample are deleted; `isotrope export` makes them again.
    Not removed: the source files, copies of exports, backups, and pages in other folders.
    """
    from pipelines.takedown.selection import Selection, select
    from pipelines.takedown.takedown import resume, take_down

    workspace = Workspace.open(folder)
    if resumes:
        if (receipt := resume(workspace)) is None:
            raise NotFoundError("no takedown was interrupted")
    else:
        selection = Selection(
            frozenset(ids), frozenset(parts), frozenset(keys), frozenset(sources), drop
        )
        for path in lists:
            with path.open(encoding="utf-8") as lines:
                selection |= Selection.read(lines)
        if selection == Selection(drop=drop):
            raise InputError("say what to take down: --id, --part, --key, --source or --file")
        selected = select(workspace.tables, selection)
        counts = f"{len(selected.samples)} samples with {len(selected.parts)} parts of their own"
        if dry_run:
            console.print(f"{counts} would be removed; nothing was changed")
            return
        if not yes:
            click.confirm(f"Remove {counts} for good?", abort=True)
        receipt = take_down(workspace, selection, reason)
    _forget_pages(workspace)
    console.print(receipt.text(), markup=False, highlight=False)
    console.print(f"receipt: {workspace.tables.root}/{receipt.file}", soft_wrap=True)
    print_next("run", folder=folder)


def _forget_pages(workspace: Workspace) -> None:
    """Delete what Dagster's pages show: they have thumbnails and keys."""
    if (workspace.root / ".dagster").is_dir():
        from orchestration import dagster_home

        dagster_home.forget_runs(workspace)
