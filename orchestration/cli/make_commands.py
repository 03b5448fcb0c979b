"""Commands that make tables: init, run, align."""

from pathlib import Path

import click
from rich.markup import escape

from orchestration.cli import tables as cli_tables
from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.tables.stages import FUNNEL
from store.workspace import Workspace


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "source", required=True, help="The folder (or s3://...) of the data.")
@click.option("--preset", help="A published recipe for the policy, such as datacomp-basic.")
def init(folder: Path, source: str, preset: str | None) -> None:
    """Write FOLDER/corpus.yaml for a source, and look at what it delivers."""
    from orchestration.cli.new_corpus import begin

    cli_tables.delivered(console, begin(folder, source, preset), folder)


@click.command()
@CORPUS
@click.option("--drop", help="Look at this drop alone; the global stages follow.")
@click.option("--select", "stage", help="Only this stage.")
def run(folder: str, drop: str | None, stage: str | None) -> None:
    """Make what is missing or out of date."""
    materialise(Workspace.open(folder), drop, stage)


def materialise(workspace: Workspace, drop: str | None = None, stage: str | None = None) -> None:
    """Run what is stale and print what it did."""
    from orchestration.runner import run_missing

    done = run_missing(workspace, drop=drop, select=stage, on_step=cli_tables.step(console))
    if not done:
        console.print("everything is up to date")
    cli_tables.funnel(console, workspace.tables)


@click.command()
@CORPUS
@click.option("--modality", "modalities", multiple=True, help="Only the tower of this modality.")
def align(folder: str, modalities: tuple[str, ...]) -> None:
    """Learn the projections of the space's aligned towers from the corpus's own pairs."""
    from orchestration.runner import run_missing
    from pipelines.vectors.align import align_space

    workspace = Workspace.open(folder)
    run_missing(workspace, select=FUNNEL, on_step=cli_tables.step(console))
    learned = align_space(
        workspace, modalities or None, lambda said: console.print(f"  {escape(said)}")
    )
    cli_tables.alignment(console, learned)
    console.print("next: isotrope run, which projects what is embedded already")
