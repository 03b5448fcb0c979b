"""Commands that serve a corpus to other programs: serve, mcp."""

from pathlib import Path
from types import ModuleType

import click

from orchestration.cli.options import CORPUS, LOG_FORMAT, example
from store.errors import MissingPackageError


@click.command(epilog=example("isotrope serve --corpus corpus"))
@CORPUS
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port to listen on.")
@click.option("--space", help="Serve the newest release of this space.")
@click.option("--release", type=int, help="Serve the release with this number.")
@click.option("--keys", type=click.Path(path_type=Path), help="The file of hashed API keys.")
@click.option(
    "--exports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Let clients export subsets into new folders of this folder.",
)
@click.option("--new-key", metavar="NAME", help="Make an API key, print it, and end.")
@click.option("--revoke-key", metavar="NAME", help="Delete an API key, and end.")
@LOG_FORMAT
def serve(
    folder: str,
    host: str,
    port: int,
    space: str | None,
    release: int | None,
    keys: Path | None,
    exports: Path | None,
    new_key: str | None,
    revoke_key: str | None,
    log_format: str | None,
) -> None:
    """Serve search over HTTP, with a description at /openapi.json.

    The server changes to a new release by itself. Addresses that other machines can reach need an
    API key.
    """
    if new_key or revoke_key:
        _change_keys(folder, keys, new_key, revoke_key)
        return
    server().serve(
        folder,
        host,
        port,
        keys=keys,
        space=space,
        release=release,
        log_format=log_format,
        exports=exports,
    )


def server() -> ModuleType:
    """The module that serves a corpus. Raises MissingPackageError without its packages."""
    try:
        from orchestration.server import run
    except ModuleNotFoundError as error:
        raise _missing(error, "server") from error
    return run


@click.command(epilog=example("isotrope mcp --corpus corpus"))
@CORPUS
@click.option("--space", help="Search the newest release of this space.")
def mcp(folder: str, space: str | None) -> None:
    """Offer search to assistants as an MCP server on stdin and stdout.

    The corpus may also be the address of a server, http://...
    """
    try:
        from orchestration.mcp_server import serve_stdio
    except ModuleNotFoundError as error:
        raise _missing(error, "mcp") from error
    serve_stdio(folder, space)


def _change_keys(folder: str, keys: Path | None, new: str | None, revoke: str | None) -> None:
    from orchestration.server.keys import KeyFile
    from orchestration.server.settings import settings_of

    file = KeyFile(keys or settings_of(folder).keys)
    if revoke:
        file.revoke(revoke)
        click.echo(f"deleted: {revoke}; running servers refuse it within seconds", err=True)
    if new:
        click.echo(file.create(new))
        click.echo(f"only its hash is stored, in {file.path}: keep the key now", err=True)


def _missing(error: ModuleNotFoundError, extra: str) -> MissingPackageError:
    return MissingPackageError(
        f"the package {error.name} is not installed: pip install 'isotrope[{extra}]'"
    )
