"""Commands that read tables: search, evaluate, drift, why."""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from orchestration.cli import tables as cli_tables
from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.errors import InputError
from store.workspace import Workspace


@click.command()
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


@click.command()
@CORPUS
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: every figure, all that was tried."
)
@click.option("--pictures", type=click.Path(path_type=Path), help="Draw them into this folder.")
@click.option("--transductive", is_flag=True, help="As if the test queries had been in the bank.")
def evaluate(folder: str, as_json: bool, pictures: Path | None, transductive: bool) -> None:
    """The newest release's figures, raw and corrected side by side."""
    from store.tables.releases import latest

    tables = Workspace.open(folder).tables
    release = latest(tables)
    evaluation = release.evaluation
    if transductive:
        from pipelines.release.transductive import evaluate_transductive

        evaluation = evaluate_transductive(tables, release)
    if as_json:
        told = {
            n: {**found, "tried": release.directions[n].tried} for n, found in evaluation.items()
        }
        click.echo(json.dumps(told, indent=2))
    else:
        cli_tables.figures(console, release, evaluation)
    if pictures:
        from pipelines.reports.retrieval_plots import write_pictures

        for path in write_pictures(release, evaluation, pictures):
            click.echo(f"written: {path}", err=as_json)


@click.command()
@CORPUS
def drift(folder: str) -> None:
    """Whether today's queries find more hubs than those that the release was made with."""
    from pipelines.release.drift import measure_drift
    from store.tables.drift import DRIFT_HEADERS, drift_cells

    found = measure_drift(Workspace.open(folder))
    said = "k-occurrence skewness: the release's own queries, fresh ones, the difference"
    table = Table(*DRIFT_HEADERS, title=said, title_justify="left", pad_edge=False)
    for measured in found:
        table.add_row(*(_cell(value) for value in drift_cells(measured)))
    console.print(table)
    for measured in found:
        console.print(f"{measured.direction}: {measured.note}", style="dim")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("name")
@CORPUS
def why(name: str, folder: str) -> None:
    """What became of a record, and by which rule. NAME is a key, a sample's id or a part's."""
    from store.lineage import why as story

    table = Table("drop", "key", "stage", "outcome", "detail")
    for step in story(Workspace.open(folder).tables, name):
        table.add_row(step.drop, step.key, step.stage, step.outcome, step.detail)
    console.print(table)
