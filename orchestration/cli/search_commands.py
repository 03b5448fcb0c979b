"""Commands that read tables: search, why."""

import json
from dataclasses import asdict
from itertools import islice
from typing import Any, BinaryIO

import click
from click.core import ParameterSource
from rich.console import Console

from orchestration.cli import tables
from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example
from store.errors import InputError
from store.workspace import Workspace


@click.command(
    epilog=example(
        'isotrope search "a striped cat" --where "image_width >= 256"',
        "isotrope search --image cat.jpg --among text --explain 1",
    )
)
@click.argument("text", required=False)
@click.option("--image", type=click.Path(), help="An image file to search with.")
@click.option("--audio", type=click.Path(), help="An audio file to search with.")
@click.option(
    "--vector",
    "vectors",
    multiple=True,
    metavar="MODALITY=FILE",
    help="A vector of the space to search with, a .npy file, such as text=query.npy.",
)
@click.option("--weights", help="The weights of text, image and audio, such as 0.7,0.3.")
@click.option(
    "--among",
    default="image",
    show_default=True,
    help="What to find: image, text, audio, any, sample, or auto (the gallery that fits best).",
)
@click.option(
    "--correct",
    default="auto",
    show_default=True,
    help="The hubness correction: auto, none or the name of a method.",
)
@click.option("--where", help="An SQL condition on the results, such as 'image_width >= 256'.")
@click.option("--hybrid", metavar="TEXT", help="Words to look for in captions too.")
@click.option(
    "--words/--no-words",
    default=None,
    help="Beside --hybrid: search the words that items were given. Default: where they help.",
)
@click.option(
    "--route",
    default="direct",
    show_default=True,
    help="How a gallery is searched by its own modality: direct, or cross (by way of another).",
)
@click.option(
    "--combine",
    default="sum",
    show_default=True,
    help="How the scores of several inputs are combined: sum, volume or product.",
)
@click.option(
    "--aggregate",
    default="max",
    show_default=True,
    help="How the scores of a sample's parts are joined: max, softmax or learned.",
)
@click.option(
    "--expand",
    type=int,
    metavar="HOPS",
    help="Rank by the graph of near items around the results too, 1 to 3 hops.",
)
@click.option(
    "--alpha", default=0.5, show_default=True, help="The share of the graph beside --expand."
)
@click.option(
    "--late",
    type=int,
    metavar="DEPTH",
    help="Rank the best rows anew by their token vectors too, such as 100 rows.",
)
@click.option(
    "--late-weight", default=0.75, show_default=True, help="The share of --late in the score."
)
@click.option(
    "--moments",
    is_flag=True,
    help="Search windows of recordings and tiles of images, and show where they are.",
)
@click.option("--limit", default=10, show_default=True, help="The most results.")
@click.option(
    "--query",
    "query_file",
    type=click.File("rb"),
    metavar="FILE|-",
    help="A whole query as JSON, also compound, in the place of inputs and options.",
)
@click.option("--explain", type=int, default=0, help="Explain the scores of the first N results.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--space", help="Search the newest release of this space.")
@click.option("--release", type=int, help="Search the release with this number.")
@CORPUS
def search(
    text: str | None,
    image: str | None,
    audio: str | None,
    vectors: tuple[str, ...],
    weights: str | None,
    among: str,
    correct: str,
    where: str | None,
    hybrid: str | None,
    words: bool | None,
    route: str,
    combine: str,
    aggregate: str,
    expand: int | None,
    alpha: float,
    late: int | None,
    late_weight: float,
    moments: bool,
    limit: int,
    query_file: BinaryIO | None,
    explain: int,
    as_json: bool,
    space: str | None,
    release: int | None,
    folder: str,
) -> None:
    """Search by text, image, audio, or a mix of them."""
    import isotrope
    from store.search.query import Query

    corpus = isotrope.connect(folder, space=space, release=release)
    if query_file is not None:
        _refuse_options_of_queries()
        query = Query.from_json(query_file.read())
    else:
        numbers = _numbers(weights) if weights else None
        query = Query.of(text, image, audio, vectors=_vectors(vectors), weights=numbers)
        query = (
            query.among(among)
            .correct(correct)
            .limit(limit)
            .route(route)
            .combine(combine)
            .aggregate(aggregate)
            .moments(moments)
        )
        query = query.where(where) if where else query
        query = query if expand is None else query.expand(expand, alpha)
        query = query if late is None else query.late(late, late_weight)
        query = query if hybrid is None else query.hybrid(hybrid, words=words)
    with Console(stderr=True).status("loading what encodes the query, and searching"):
        result = corpus.run(query)
    explanations = [hit.explain() for hit in islice(result, explain)]
    if not as_json:
        result.show()
        for explanation in explanations:
            console.print()
            explanation.show()
        print_next("open explorer", folder=folder)
        return
    answer = {
        "complete": result.complete,
        "notes": result.notes,
        "hits": result.rows.to_pylist(),
        "explained": [asdict(explanation) for explanation in explanations],
    }
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def _refuse_options_of_queries() -> None:
    """Refuse inputs and options beside `--query`, which has its own."""
    context = click.get_current_context()
    beside = ("query_file", "explain", "as_json", "space", "release", "folder")
    for name in context.params:
        if name not in beside and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise InputError(f"--query has the whole query as JSON: leave out {name}")


def _vectors(options: tuple[str, ...]) -> dict[str, Any] | None:
    """Vectors from files, by modality."""
    import numpy as np

    vectors = {}
    for option in options:
        modality, _, file = option.partition("=")
        try:
            vectors[modality] = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--vector {option!r}: expected MODALITY=FILE with a .npy file: {error}"
            ) from None
    return vectors or None


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        message = f"--weights {text!r} is not valid: expected numbers with commas between them"
        raise InputError(message) from None


@click.command(epilog=example("isotrope why animals/cat-17 --corpus corpus"))
@click.argument("name")
@CORPUS
@AS_JSON
def why(name: str, folder: str, as_json: bool) -> None:
    """Show what became of a record at every stage.

    NAME is a key, the id of a sample, or the id of a part.
    """
    from store.lineage import trace_record as events_of

    events = events_of(Workspace.open(folder).tables, name)
    if as_json:
        print_json([asdict(event) for event in events])
        return
    tables.print_events(events)
    print_next("policy", folder=folder)
