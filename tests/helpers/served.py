"""A small corpus that is stored in the repository, and a server of it in a thread."""

import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn

import isotrope
from orchestration.server.exports import Exports
from orchestration.server.keys import KeyFile
from orchestration.server.run import LOCAL_NAMES, make_config
from orchestration.server.service import Service
from store.config.server import Server
from store.tables import releases
from store.tables.lance_tables import Tables
from store.tables.releases import Release
from store.workspace import Workspace

DATA = Path(__file__).resolve().parents[1] / "data"


def stored_corpus(folder: Path, format_: int = 1) -> Workspace:
    """The corpus that the last version of the code with this table format made."""
    with tarfile.open(DATA / f"corpus-format-{format_}.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return Workspace.open(folder)


class Served(NamedTuple):
    """A running server."""

    url: str
    service: Service


@contextmanager
def served(
    folder: Path,
    settings: Server | None = None,
    *,
    keys: Path | None = None,
    required: bool = False,
    port: int = 0,
    exports: Path | None = None,
) -> Iterator[Served]:
    """Serve a corpus on a port of the local machine. 0: any free port.

    Args:
        exports: the folder for exports.
    """
    file = KeyFile(keys or folder / "server-keys.json")
    file.refresh()
    config = folder if (folder / "corpus.yaml").is_file() else None
    jobs = Exports(exports, folder) if exports else None
    corpus = isotrope.open_corpus(folder)
    service = Service(corpus, settings or Server(), file, required, config, jobs)
    server = uvicorn.Server(make_config(service, LOCAL_NAMES, "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", service)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def publish_again(tables: Tables, more: Mapping[str, int] | None = None) -> Release:
    """Publish the newest release once more, with the next number, and versions of more tables."""
    latest = releases.latest_release(tables)
    values = dict(vars(latest))
    del values["number"], values["created_at"]
    values["versions"] = {**values["versions"], **(more or {})}
    return releases.publish(tables, **values)
