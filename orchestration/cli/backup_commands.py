"""Commands that copy the tables away and back: backup, restore."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestration.cli.console import console, print_next
from orchestration.cli.options import CORPUS, example
from store.workspace import Workspace

if TYPE_CHECKING:
    from store.tables.files import Files


@click.command(epilog=example("isotrope backup s3://bucket/backups --keep 7"))
@click.argument("target")
@CORPUS
@click.option("--keep", type=click.IntRange(1), help="Delete all but this many backups.")
def backup(target: str, folder: str, keep: int | None) -> None:
    """Copy the tables to TARGET, a folder or an address (s3://...).

    Only files that earlier backups in TARGET do not have are copied. Runs and searches may go on;
    the backup has all tables at one moment. Source files, reports and the query log are not in it.
    Options of the object store come from the environment, or from corpus.yaml if the tables are in
    a store of the same kind.
    """
    from store.tables.backup import back_up

    workspace = Workspace.open(folder)
    done = back_up(workspace.tables, _files(workspace, target), keep)
    console.print(
        f"backup {done.catalogue.name}: {len(done.catalogue.versions)} tables,"
        f" {len(done.catalogue.data):,} files, of which {done.copied:,} with"
        f" {done.bytes_copied:,} bytes were new"
    )
    print_next(f"restore {shlex.quote(target)}", folder=folder)


@click.command(epilog=example("isotrope restore s3://bucket/backups --corpus corpus"))
@click.argument("source")
@CORPUS
@click.option("--at", "name", help="The name of a backup. Default: the newest.")
def restore(source: str, folder: str, name: str | None) -> None:
    """Copy the tables back from a backup in SOURCE.

    They are written to where corpus.yaml has them. There must be no tables: move
    damaged ones away before. If the command is interrupted, repeat it. Afterwards,
    `isotrope check --deep` compares all files with their checksums.
    """
    from store.tables.restore import restore as copy_back

    workspace = Workspace.open(folder)
    done = copy_back(_files(workspace, source), workspace.tables, name)
    console.print(f"restored backup {done.name}: {len(done.versions)} tables", soft_wrap=True)
    print_next("check --deep", "run", folder=folder)


def _files(workspace: Workspace, address: str) -> "Files":
    from store.tables.files import Files

    tables = workspace.tables.files
    is_same_kind = "://" in address and address.split(":")[0] == tables.root.split(":")[0]
    options = tables.options if is_same_kind else None
    return Files(address if "://" in address else Path(address).expanduser().resolve(), options)
