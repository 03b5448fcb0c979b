"""Commands that write or serve pages: report, dev, dagster, demo."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from orchestration.cli.console import console, print_next
from orchestration.cli.options import CORPUS, LOG_FORMAT, example
from store.errors import InputError
from store.workspace import Workspace


@click.command(epilog=example("isotrope report curation --by text_language"))
@click.argument("what", type=click.Choice(["corpus", "curation"]), default="corpus")
@CORPUS
@click.option(
    "--out",
    help="The file to write, or its address (s3://...); by default in the corpus's folder.",
)
@click.option("--drop", help="Report on the curation of this drop alone.")
@click.option(
    "--by",
    multiple=True,
    help="Compare groups by this column: drop, source, text_language or another text signal.",
)
def report(what: str, folder: str, out: str | None, drop: str | None, by: tuple[str, ...]) -> None:
    """Write an HTML report about the corpus or its curation.

    "corpus" shows the counts of every stage, example searches, and retrieval before and after
    correction. "curation" shows what was rejected and why, the values and extremes of every
    signal, duplicates, and the share of each group that is kept.
    """
    workspace = Workspace.open(folder)
    if what == "corpus":
        if drop or by:
            raise InputError("--drop and --by belong to `isotrope report curation`")
        from orchestration.cli.demo import write_page

        with _local_file(workspace, out, workspace.root / "report.html") as (path, publish):
            publish([write_page(workspace, path)])
    else:
        from pipelines.reports.curation.exclusion import GROUPS
        from pipelines.reports.curation.report import PAGE, page_of, write_curation

        all_drops = workspace.root / PAGE
        default = all_drops if drop is None else page_of(all_drops, drop)
        with _local_file(workspace, out, default) as (path, publish):
            publish(write_curation(workspace, path, drop, by or GROUPS))
    print_next("open report", folder=folder)


@contextmanager
def _local_file(
    workspace: Workspace, out: str | None, default: Path
) -> Iterator[tuple[Path, Callable[[list[Path]], None]]]:
    """The local file to write a page to, and a function that publishes the written pages."""
    from store.tables.files import Files
    from store.tables.store_options import options_for

    with TemporaryDirectory() as scratch:
        folder, _, name = (out or "").rpartition("/")
        if "://" not in folder:
            yield Path(out) if out else default, lambda pages: _print_written(map(str, pages))
            return
        tables = workspace.tables
        files = Files(folder, options_for(folder, tables.root, tables.files.options))

        def upload(pages: list[Path]) -> None:
            for page in pages:
                files.upload(page, page.name)
            _print_written(f"{folder}/{page.name}" for page in pages)

        yield Path(scratch, name), upload


def _print_written(pages: Iterable[str]) -> None:
    for page in pages:
        console.print(f"written: {page}", soft_wrap=True)


@click.command(epilog=example("isotrope dev --corpus corpus"))
@CORPUS
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=3000, show_default=True, help="The port to listen on.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may ask for the page. IP addresses and localhost always may.",
)
def dev(folder: str, host: str, port: int, allowed_hosts: tuple[str, ...]) -> None:
    """Serve Dagster's web page for the corpus. It has no authentication."""
    from orchestration.dagster_web import serve

    serve(Workspace.open(folder), host, port, allowed_hosts)


@click.command(epilog=example("DAGSTER_HOME=/etc/dagster isotrope dagster --corpus corpus"))
@CORPUS
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=4000, show_default=True, help="The port to listen on.")
@LOG_FORMAT
def dagster(folder: str, host: str, port: int, log_format: str | None) -> None:
    """Serve the corpus to a deployed Dagster.

    Its dagster.yaml is in the folder that DAGSTER_HOME names.
    """
    from orchestration import json_logs
    from orchestration.code_location import serve

    if log_format is not None:
        os.environ[json_logs.VARIABLE] = log_format  # for this server and the runs that it starts
    serve(Workspace.open(folder), host, port)


@click.command(epilog=example("isotrope demo demo"))
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Build a demonstration corpus, search it, and write its report."""
    from orchestration.cli.demo import demonstrate

    demonstrate(folder)
