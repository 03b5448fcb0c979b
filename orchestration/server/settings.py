"""The settings of a corpus's server, and where its keys are."""

from pathlib import Path

from store.config.corpus_yaml import FILE
from store.config.server import Server
from store.workspace import Workspace


def settings_of(folder: str) -> tuple[Server, Path]:
    """The `server:` section of a corpus, and the path of its file of keys.

    An address without corpus.yaml has the default settings, and its keys are in the current folder.
    """
    if (Path(folder) / FILE).is_file():
        workspace = Workspace.open(folder)
        settings = workspace.config.server
        return settings, workspace.path(settings.keys)
    settings = Server()
    return settings, Path(settings.keys).resolve()
