"""The files of an evaluation set that corpus.yaml names under `decontaminate:`."""

from pathlib import Path

from pipelines.sources.drops import Drop, listing_hash
from store.config.duplicates import Evaluation
from store.errors import SourceError
from store.workspace import Workspace


def evaluation_listing_hash(workspace: Workspace, evaluation: Evaluation) -> str:
    """Hash the paths, sizes and times of the evaluation's files, as hex.

    Raises:
        SourceError: the path does not exist or cannot be listed.
    """
    return listing_hash(evaluation_drop(workspace, evaluation))


def evaluation_drop(workspace: Workspace, evaluation: Evaluation) -> Drop:
    """The evaluation's folder or file as a drop, so that the readers of drops can read it.

    Raises:
        SourceError: the path does not exist.
    """
    path = evaluation_path(workspace, evaluation)
    if path.is_dir():
        return Drop(evaluation.name, str(path))
    return Drop(evaluation.name, str(path.parent), (path.name,))


def evaluation_path(workspace: Workspace, evaluation: Evaluation) -> Path:
    """The absolute path of the evaluation; a relative one starts at the corpus's folder.

    Raises:
        SourceError: the path does not exist.
    """
    path = workspace.path(evaluation.path)
    if not path.exists():
        raise SourceError(f"decontaminate {evaluation.name!r}: {path} does not exist")
    return path
