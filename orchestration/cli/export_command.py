"""`isotrope export`: the kept samples as files."""

from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.workspace import Workspace


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", type=click.Choice(["webdataset", "parquet", "lance"]), required=True)
@click.option("--signals", is_flag=True, help="With all that was measured of them.")
@click.option("--mask", is_flag=True, help="URLs, e-mail addresses and telephone numbers masked.")
@click.option("--shard-samples", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--shard-bytes", type=click.IntRange(1), default=1 << 30, show_default=True)
@click.option("--overwrite", is_flag=True, help="Remove another export that is in TARGET.")
@CORPUS
def export(target: Path, folder: str, overwrite: bool, **options: Any) -> None:
    """Write the kept samples of all drops to TARGET: original bytes, captions and keys.

    A killed export goes on where it stopped.
    """
    from pipelines.export.stage import Options
    from pipelines.export.stage import export as write
    from pipelines.stages import staleness

    workspace = Workspace.open(folder)
    if "decisions" in staleness.stale(workspace, None):
        console.print("the decisions are out of date: `isotrope run` makes them", style="yellow")
    done = write(workspace, target.expanduser().resolve(), Options(**options), overwrite)
    said = f"{done.samples:,} samples in {done.shards:,} shards, {done.bytes:,} bytes"
    console.print(f"{said}: {escape(str(done.folder))}")
