"""The settings of a corpus's server, and where its keys are."""

from pathlib import Path
from typing import NamedTuple

from orchestration.json_logs import LogFormat
from store.config.corpus_yaml import FILE
from store.config.server import Server
from store.workspace import Workspace


class ServerSettings(NamedTuple):
    """The `server:` section of a corpus, the path of its file of keys, its `log_format`."""

    section: Server
    keys: Path
    log_format: LogFormat


def settings_of(folder: str) -> ServerSettings:
    """The settings in corpus.yaml of a folder.

    An address without corpus.yaml has the default settings, and its keys are in the current folder.
    """
    if (Path(folder) / FILE).is_file():
        workspace = Workspace.open(folder)
        settings = workspace.config.server
        return ServerSettings(settings, workspace.path(settings.keys), workspace.config.log_format)
    settings = Server()
    return ServerSettings(settings, Path(settings.keys).resolve(), "text")
