"""The command `isotrope export`: writes the kept samples as files."""

import shlex
from typing import Any

import click
from rich.markup import escape

from orchestration.cli.console import console, print_next
from orchestration.cli.options import CORPUS, example
from store.workspace import Workspace


@click.command(epilog=example("isotrope export ~/kept --to webdataset --signals"))
@click.argument("target")
@click.option(
    "--to",
    type=click.Choice(["webdataset", "parquet", "lance"]),
    required=True,
    help="The format of the files.",
)
@click.option("--signals", is_flag=True, help="Include the signals of every sample.")
@click.option(
    "--mask",
    is_flag=True,
    help="Mask URLs, e-mail addresses and telephone numbers in captions.",
)
@click.option(
    "--shard-samples",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="The most samples in a shard.",
)
@click.option(
    "--shard-bytes",
    type=click.IntRange(1),
    default=1 << 30,
    show_default=True,
    help="The most bytes in a shard.",
)
@click.option("--overwrite", is_flag=True, help="Replace another export in TARGET.")
@CORPUS
def export(target: str, folder: str, overwrite: bool, **options: Any) -> None:
    """Write the kept samples to a folder.

    Original bytes, captions and keys of all drops are written to TARGET, a folder or an address
    such as s3://bucket/folder. If an export was
    interrupted, the same command resumes it.
    """
    from pipelines.export.stage import Options
    from pipelines.export.stage import export as write
    from pipelines.stages import staleness
    from store.tables.files import absolute

    workspace = Workspace.open(folder)
    if "decisions" in staleness.stale(workspace, None):
        console.print("the decisions are out of date; `isotrope run` updates them", style="yellow")
    done = write(workspace, absolute(target), Options(**options), overwrite)
    counts = f"{done.samples:,} samples in {done.shards:,} shards, {done.bytes:,} bytes"
    console.print(f"{counts}: {escape(done.folder)}", soft_wrap=True)
    print_next(f"init another --from {shlex.quote(done.folder)}")
