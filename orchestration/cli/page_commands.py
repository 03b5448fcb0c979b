"""Commands that write or serve pages: report, dev, demo."""

from pathlib import Path

import click

from orchestration.cli.console import console
from orchestration.cli.options import CORPUS
from store.errors import InputError
from store.workspace import Workspace


@click.command()
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
        from orchestration.cli.demo import write_page

        pages = [write_page(workspace, out or workspace.root / "report.html")]
    else:
        from pipelines.reports.curation.exclusion import GROUPS
        from pipelines.reports.curation.report import PAGE, page_of, write_curation

        whole = workspace.root / PAGE
        place = out or (whole if drop is None else page_of(whole, drop))
        pages = write_curation(workspace, place, drop, by or GROUPS)
    for page in pages:
        console.print(f"written: {page}", soft_wrap=True)


@click.command()
@CORPUS
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=3000, show_default=True)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may ask for the page. IP addresses and localhost always may.",
)
def dev(folder: str, host: str, port: int, allowed_hosts: tuple[str, ...]) -> None:
    """Dagster's web page on this corpus. It has no authentication."""
    from orchestration.dagster_web import serve

    serve(Workspace.open(folder), host, port, allowed_hosts)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Build the demonstration corpus, run every stage, search it, and write its page."""
    from orchestration.cli.demo import demonstrate

    demonstrate(folder, console)
