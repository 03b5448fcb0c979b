"""Starts the server of a corpus with uvicorn."""

import logging
import math
import sys
from pathlib import Path

import uvicorn

import isotrope
from orchestration import json_logs
from orchestration.loopback import is_loopback
from orchestration.server import tracing
from orchestration.server.app import make_app
from orchestration.server.exports import Exports
from orchestration.server.keys import KeyFile
from orchestration.server.service import Service
from orchestration.server.settings import settings_of
from store.config.corpus_yaml import FILE
from store.errors import InputError

LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]", "::1"]
_MAX_HEADERS = 64 << 10  # bytes
_BACKLOG = 256  # connections that the system holds before the server accepts them


def serve(
    folder: str,
    host: str,
    port: int,
    *,
    keys: Path | None = None,
    space: str | None = None,
    release: int | None = None,
    log_format: str | None = None,
    exports: Path | None = None,
) -> None:
    """Serve a corpus until SIGTERM or SIGINT. Running requests are answered before it ends.

    Args:
        folder: of the corpus, or the address of its tables.
        host: the address to listen on.
        port: the port to listen on. 0: any free port.
        keys: the file of hashed keys, instead of the one that corpus.yaml names.
        space: serve the newest release of this space.
        release: serve the release with this number, and never another one.
        log_format: `text` or `json`. None: as corpus.yaml says.
        exports: the folder that subsets are exported to. None: they are not.

    Raises:
        InputError: the address is not of the local machine, and there are no keys; or exports are
            wanted, and there is no corpus.yaml.
        NotFoundError: there is no corpus, or no release of the space or with the number.
    """
    settings, default_keys, configured = settings_of(folder)
    key_file = KeyFile(keys or default_keys)
    key_file.refresh()
    local = is_loopback(host)
    if not local and not key_file.keys:
        raise InputError(
            f"--host {host} can be reached from other machines, which needs an API key: `isotrope"
            " serve --new-key NAME` makes one"
        )
    corpus = isotrope.open_corpus(folder, space, release)
    if space is not None or release is not None:
        _ = corpus.release  # raises if there is none; without them, the server waits for one
    workspace = Path(folder) if (Path(folder) / FILE).is_file() else None
    if exports is not None and workspace is None:
        raise InputError(f"--exports needs a folder with corpus.yaml, and {folder} is none")
    jobs = Exports(exports, workspace) if exports and workspace else None
    service = Service(corpus, settings, key_file, not local, workspace, jobs)
    names = [*settings.hosts, *LOCAL_NAMES, host]
    # Where every request needs a key, a page of another site has none, and any name is safe.
    hosts = names if local or settings.hosts else ["*"]
    _log_to_stderr(json_logs.chosen(log_format, configured))
    uvicorn.Server(make_config(service, hosts, host, port)).run()


def make_config(service: Service, hosts: list[str], host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves a service. Arguments are those of `make_app` and `serve`."""
    app = make_app(service, hosts)
    if tracing.is_wanted():
        tracing.trace(app, service)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        http="h11",  # httptools reads headers of any size into memory
        h11_max_incomplete_event_size=_MAX_HEADERS,
        ws="none",
        timeout_graceful_shutdown=math.ceil(service.settings.shutdown_seconds),
    )


def _log_to_stderr(log_format: json_logs.LogFormat) -> None:
    """The access log as JSON lines; other messages likewise, or as text with time and level."""
    if log_format == "json":
        json_logs.configure()
        return
    access = logging.getLogger("isotrope.access")
    access.addHandler(json_logs.handler())
    access.setLevel(logging.INFO)
    access.propagate = False
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
