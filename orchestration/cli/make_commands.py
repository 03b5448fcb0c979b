"""Commands that make tables: init, run, align."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console
from rich.markup import escape

from orchestration.cli import tables
from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, LOG_FORMAT, example
from store.errors import InputError
from store.tables.stages import FUNNEL
from store.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.sources.drops import Drop


@click.command(epilog=example("isotrope init corpus --from ~/photos"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "source", required=True, help="The data: a folder, or an s3:// address.")
@click.option("--preset", help="Start the policy from a published recipe, such as datacomp-basic.")
@click.option(
    "--drop-by",
    type=click.Choice(["entry", "source"]),
    help="Whether each folder or tar file is a drop, or all of the source is one.",
)
@click.option(
    "--captions",
    type=click.Choice(["files", "names"]),
    default="files",
    show_default=True,
    help="names: the words in the names of files are captions where there are no others.",
)
@AS_JSON
def init(
    folder: Path,
    source: str,
    preset: str | None,
    drop_by: Literal["entry", "source"] | None,
    captions: Literal["files", "names"],
    as_json: bool,
) -> None:
    """Start a corpus: write FOLDER/corpus.yaml for a source.

    Also counts the records that the source delivers, and decodes up to 200 of them to show what
    they are.
    """
    from orchestration.cli.new_corpus import create
    from orchestration.cli.survey_table import print_survey
    from pipelines.estimate.survey import survey
    from store.config.limits import Limits

    counts = create(folder, source, preset, drop_by, captions)
    source_survey = survey(counts, Limits())
    if as_json:
        drops = {drop.name: count for drop, count in counts.items()}
        print_json({"corpus": str(folder), "drops": drops, "survey": vars(source_survey)})
        return
    tables.print_delivered(counts)
    print_survey(source_survey, counts)
    console.print(f"written: {folder}/corpus.yaml", soft_wrap=True, markup=False)
    print_next("run", folder=str(folder))


@click.command(epilog=example("isotrope run --corpus corpus"))
@CORPUS
@click.option("--drop", help="Of the stages that are made by drop, update only those of this one.")
@click.option(
    "--select",
    "stage",
    help="Update only this stage, in all spaces; STAGE__SPACE: in another than the main space.",
)
@LOG_FORMAT
@AS_JSON
def run(
    folder: str, drop: str | None, stage: str | None, log_format: str | None, as_json: bool
) -> None:
    """Make or update the tables that are missing or out of date."""
    from orchestration import json_logs
    from orchestration.cli.drop_commands import handle_lost_drops
    from orchestration.runner import prepare

    workspace = Workspace.open(folder)
    if json_logs.chosen(log_format, workspace.config.log_format) == "json":
        json_logs.configure()
    delivered = prepare(workspace)
    handle_lost_drops(workspace, delivered)
    if as_json:
        from orchestration.runner import run_missing
        from pipelines.reports.outcomes import read_stages

        steps = run_missing(workspace, drop, stage, delivered=delivered)
        counts = [counts._asdict() for counts in read_stages(workspace.tables)]
        print_json({"made": steps, "stages": counts})
        return
    materialise(workspace, drop, stage, delivered)
    if workspace.tables.exists("releases"):
        print_next('search "a striped cat"', "open explorer", folder=folder)
    else:
        print_next("status", folder=folder)


def materialise(
    workspace: Workspace,
    drop: str | None = None,
    stage: str | None = None,
    delivered: "dict[str, Drop] | None" = None,
) -> None:
    """Run the stages that are out of date, and print the counts of every stage.

    The arguments are those of `orchestration.runner.run_missing`.
    """
    from orchestration.runner import run_missing

    steps = run_missing(workspace, drop, stage, tables.print_step, delivered)
    if not steps:
        console.print("everything is up to date")
    tables.print_funnel(workspace.tables)


@click.command(epilog=example("isotrope align --modality audio"))
@CORPUS
@click.option("--modality", "modalities", multiple=True, help="Only this modality's projection.")
@click.option("--space", help="The space. Default: the main one, `space:` of corpus.yaml.")
@click.option(
    "--method",
    help="auto (cross-validation chooses), contrastive, ridge or cca. Default: `method:` of the"
    " tower, or auto if it names no head.",
)
@click.option("--grow", is_flag=True, help="Learn further from new drops, and compare on the old.")
@click.option("--force", is_flag=True, help="With --grow: adopt a head that loses on old drops.")
@AS_JSON
def align(
    folder: str,
    modalities: tuple[str, ...],
    space: str | None,
    method: str | None,
    grow: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Learn the projections of the aligned towers of a space.

    They are learned from the pairs that the corpus keeps, or, with --grow, further from those of
    new drops.
    """
    from orchestration.cli.alignment_report import print_alignment, print_growth
    from orchestration.runner import run_missing
    from pipelines.vectors.align import align_space
    from pipelines.vectors.grow import grow_space

    if grow and method is not None:
        raise InputError("--grow goes on with the method by which the head was learned")
    if force and not grow:
        raise InputError("--force is for --grow: without it, every head is adopted")

    workspace = Workspace.open(folder)
    progress = Console(stderr=True) if as_json else console

    def print_progress(message: str) -> None:
        progress.print(f"  {escape(message)}")

    run_missing(workspace, select=FUNNEL, on_step=lambda stage, drop: print_progress(stage))
    if grow:
        steps = grow_space(workspace.of_space(space), modalities or None, print_progress, force)
        if as_json:
            print_json([asdict(step) for step in steps])
        else:
            print_growth(steps)
        if not all(step.adopted for step in steps):
            raise click.exceptions.Exit(1)
        return
    learned = align_space(workspace.of_space(space), modalities or None, print_progress, method)
    if as_json:
        print_json({each.modality: each.figures for each in learned})
        return
    print_alignment(learned)
    console.print("`isotrope run` projects the vectors that are stored already")
    print_next("run", folder=folder)
