"""The command suggest."""

import shlex
from dataclasses import asdict

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestration.cli.console import console, print_json, print_next
from orchestration.cli.options import AS_JSON, CORPUS, example


@click.command(epilog=example('isotrope suggest "a bird" --count 5'))
@click.argument("text")
@click.option(
    "--among", default="image", show_default=True, help="What to find: image, text or audio."
)
@click.option("--where", help="An SQL condition on the results, such as 'image_width >= 256'.")
@click.option("--count", default=5, show_default=True, help="The most suggestions, up to 20.")
@click.option("--space", help="Search the newest release of this space.")
@CORPUS
@AS_JSON
def suggest(
    text: str,
    among: str,
    where: str | None,
    count: int,
    space: str | None,
    folder: str,
    as_json: bool,
) -> None:
    """Suggest changes of a text that lead to groups of its results."""
    import isotrope

    query = isotrope.connect(folder, space=space).search(text=text).among(among)
    query = query.where(where) if where else query
    with Console(stderr=True).status("loading what encodes the query, and searching"):
        suggestions = query.suggest(count)
    if as_json:
        print_json([asdict(each) for each in suggestions])
        return
    if not suggestions:
        console.print("no change of the text finds a group of the results better than the text")
        return
    table = Table("suggestion", pad_edge=False)
    for name in ("results", "specificity", "before", "gain"):
        table.add_column(name, justify="right")
    for each in suggestions:
        figures = (each.specificity, each.before, each.gain)
        table.add_row(escape(each.text), f"{each.rows}", *(f"{f:.3f}" for f in figures))
    console.print(table)
    print_next(f"search {shlex.quote(suggestions[0].text)}", folder=folder)
