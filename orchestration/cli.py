"""The command line. Errors that isotrope raises on purpose are printed, never as a traceback."""

import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration import tell
from orchestration.export import export
from orchestration.judge import policy, whatif
from orchestration.options import CORPUS
from store.errors import InputError, IsotropeError
from store.workspace import Workspace

console = Console()


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IsotropeError as error:
            click.secho("error: ", fg="red", bold=True, err=True, nl=False)
            click.echo(str(error), err=True)
            ctx.exit(1)


@click.group(cls=_Group)
@click.version_option(package_name="isotrope")
def main() -> None:
    """Curate image-text-audio corpora and search them in a space without hubs."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--from", "source", required=True, help="The folder (or s3://...) of the data.")
@click.option("--preset", help="A published recipe for the policy, such as datacomp-basic.")
def init(folder: Path, source: str, preset: str | None) -> None:
    """Write FOLDER/corpus.yaml for a source, and look at what it delivers."""
    from orchestration.init import begin

    tell.delivered(console, begin(folder, source, preset), folder)


@main.command()
@CORPUS
@click.option("--drop", help="Look at this drop alone; the global stages follow.")
@click.option("--select", "stage", help="Only this stage.")
def run(folder: str, drop: str | None, stage: str | None) -> None:
    """Make what is missing or out of date."""
    materialise(Workspace.open(folder), drop, stage)


def materialise(workspace: Workspace, drop: str | None = None, stage: str | None = None) -> None:
    """Run what is stale and print what it did."""
    from orchestration.run import run_missing

    done = run_missing(workspace, drop=drop, select=stage, on_step=tell.step(console))
    if not done:
        console.print("everything is up to date")
    tell.funnel(console, workspace.tables)


@main.command()
@CORPUS
@click.option("--modality", "modalities", multiple=True, help="Only the tower of this modality.")
def align(folder: str, modalities: tuple[str, ...]) -> None:
    """Learn the projections of the space's aligned towers from the corpus's own pairs."""
    from orchestration.run import run_missing
    from pipelines.align import align_space

    workspace = Workspace.open(folder)
    before = ("samples", "signals", "duplicates", "decisions")
    run_missing(workspace, select=before, on_step=tell.step(console))
    learned = align_space(
        workspace, modalities or None, lambda said: console.print(f"  {escape(said)}")
    )
    tell.alignment(console, learned)
    console.print("next: isotrope run, which projects what is embedded already")


@main.command()
@click.argument("text", required=False)
@click.option("--image", type=click.Path(), help="A picture to search with.")
@click.option("--audio", type=click.Path(), help="A recording to search with.")
@click.option("--weights", help="One number an input, such as 0.7,0.3.")
@click.option("--among", default="image", show_default=True, help="image, text, audio or any.")
@click.option("--correct", default="auto", show_default=True, help="auto, none or a method.")
@click.option("--where", help="An SQL condition, such as 'image_width >= 256'.")
@click.option("--limit", default=10, show_default=True)
@click.option("--explain", type=int, default=0, help="Explain the best hits, so many of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--space", help="Search the newest release of this space.")
@click.option("--release", type=int, help="Search the release of this number.")
@CORPUS
def search(
    text: str | None,
    image: str | None,
    audio: str | None,
    weights: str | None,
    among: str,
    correct: str,
    where: str | None,
    limit: int,
    explain: int,
    as_json: bool,
    space: str | None,
    release: int | None,
    folder: str,
) -> None:
    """Search by TEXT, a picture, a recording, or a mix of them."""
    import isotrope

    shares = _numbers(weights) if weights else None
    corpus = isotrope.connect(folder, space=space, release=release)
    query = corpus.search(text, image, audio, weights=shares)
    query = query.among(among).correct(correct).limit(limit)
    result = (query.where(where) if where else query).run()
    explained = [hit.explain() for hit in islice(result, explain)]
    if not as_json:
        result.show()
        for found in explained:
            console.print()
            found.show()
        return
    answer = {
        "complete": result.complete,
        "notes": result.notes,
        "hits": result.rows.to_pylist(),
        "explained": [asdict(found) for found in explained],
    }
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--weights {text!r}: numbers with commas between are expected") from None


@main.command()
@CORPUS
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: every figure, all that was tried."
)
@click.option("--pictures", type=click.Path(path_type=Path), help="Draw them into this folder.")
@click.option("--transductive", is_flag=True, help="As if the test queries had been in the bank.")
def evaluate(folder: str, as_json: bool, pictures: Path | None, transductive: bool) -> None:
    """The newest release's figures, raw and corrected side by side."""
    from store.releases import latest

    tables = Workspace.open(folder).tables
    release = latest(tables)
    evaluation = release.evaluation
    if transductive:
        from pipelines.transductive import evaluate_transductive

        evaluation = evaluate_transductive(tables, release)
    if as_json:
        told = {
            n: {**found, "tried": release.directions[n].tried} for n, found in evaluation.items()
        }
        click.echo(json.dumps(told, indent=2))
    else:
        tell.figures(console, release, evaluation)
    if pictures:
        from pipelines.retrieval_pictures import write_pictures

        for path in write_pictures(release, evaluation, pictures):
            click.echo(f"written: {path}", err=as_json)


@main.command()
@CORPUS
def drift(folder: str) -> None:
    """Whether today's queries find more hubs than those that the release was made with."""
    from assets.drift import HEADS, row
    from pipelines.drift import measure_drift

    found = measure_drift(Workspace.open(folder))
    said = "k-occurrence skewness: the release's own queries, fresh ones, the difference"
    table = Table(*HEADS, title=said, title_justify="left", pad_edge=False)
    for measured in found:
        table.add_row(*(_cell(value) for value in row(measured)))
    console.print(table)
    for measured in found:
        console.print(f"{measured.direction}: {measured.note}", style="dim")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


@main.command()
@click.argument("name")
@CORPUS
def why(name: str, folder: str) -> None:
    """What became of a record, and by which rule. NAME is a key, a sample's id or a part's."""
    from store.why import why as story

    table = Table("drop", "key", "stage", "outcome", "detail")
    for step in story(Workspace.open(folder).tables, name):
        table.add_row(step.drop, step.key, step.stage, step.outcome, step.detail)
    console.print(table)


@main.command()
@click.argument("what", type=click.Choice(["corpus", "curation"]), default="corpus")
@CORPUS
@click.option("--out", type=click.Path(path_type=Path), help="Default: in the corpus's folder.")
@click.option("--drop", help="Curation of this drop alone.")
@click.option("--by", multiple=True, help="Tell groups by this: drop, source, text_language ...")
def report(what: str, folder: str, out: Path | None, drop: str | None, by: tuple[str, ...]) -> None:
    """Write a page of pictures.

    "corpus" is the funnel, searches, hubs before and after correction; "curation" is what was
    rejected and why, every signal's values and extremes, duplicates, and who is excluded.
    """
    workspace = Workspace.open(folder)
    if what == "corpus":
        if drop or by:
            raise InputError("--drop and --by go with `isotrope report curation`")
        from orchestration.demo import write_page

        pages = [write_page(workspace, out or workspace.root / "report.html")]
    else:
        from pipelines.curation import GROUPS, PAGE, page_of, write_curation

        whole = workspace.root / PAGE
        place = out or (whole if drop is None else page_of(whole, drop))
        pages = write_curation(workspace, place, drop, by or GROUPS)
    for page in pages:
        console.print(f"written: {page}", soft_wrap=True)


@main.command()
@CORPUS
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True)
def dev(folder: str, host: str, port: int) -> None:
    """Dagster's web page on this corpus."""
    from orchestration.dev import serve

    serve(Workspace.open(folder), host, port)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Build the demonstration corpus, run every stage, search it, and write its page."""
    from orchestration.demo import demonstrate

    demonstrate(folder, console)


main.add_command(export)
main.add_command(policy)
main.add_command(whatif)

if __name__ == "__main__":
    main(prog_name="isotrope", args=sys.argv[1:])
