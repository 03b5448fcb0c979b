"""The command open: shows a page of the corpus in the web browser."""

import socket

import click

from orchestration.cli.console import console
from orchestration.cli.options import CORPUS, example
from store.workspace import Workspace

_HOST = "127.0.0.1"
_PORTS = {"explorer": 8000, "dagster": 3000}


@click.command("open", epilog=example("isotrope open explorer --corpus corpus"))
@click.argument("page", type=click.Choice(["report", "explorer", "dagster"]), default="explorer")
@CORPUS
def open(page: str, folder: str) -> None:
    """Open a page of the corpus in the web browser.

    "explorer" and "dagster" are served until Ctrl-C, as `isotrope serve` and `isotrope dev` do; if
    the usual port is taken, on a free one. "report" is written first if the release is newer.
    """
    workspace = Workspace.open(folder)
    if page == "report":
        _open_report(workspace)
        return
    from orchestration.browser import open_when_ready

    port = _free_port(_PORTS[page])
    if page == "explorer":
        from orchestration.cli.server_commands import server

        serve = server().serve
        console.print(f"the explorer: http://{_HOST}:{port}/ (Ctrl-C stops it)", soft_wrap=True)
        open_when_ready(f"http://{_HOST}:{port}/")
        serve(folder, _HOST, port)
    else:
        from orchestration.dagster_web import serve as serve_dagster

        open_when_ready(f"http://{_HOST}:{port}/")
        serve_dagster(workspace, _HOST, port)


def _open_report(workspace: Workspace) -> None:
    from orchestration.browser import open_now
    from orchestration.cli.demo import write_page
    from store.tables.releases import latest_release

    file = workspace.root / "report.html"
    made = latest_release(workspace.tables).created_at.timestamp()
    if not file.exists() or file.stat().st_mtime < made:
        write_page(workspace, file)
    console.print(str(file), soft_wrap=True, markup=False)
    open_now(file.as_uri())


def _free_port(usual: int) -> int:
    """The usual port, or a free one if something listens there."""
    for port in (usual, 0):
        with socket.socket() as listener:
            # As servers do: a connection that was closed a moment ago does not hold the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((_HOST, port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise OSError(f"no port of {_HOST} is free")
