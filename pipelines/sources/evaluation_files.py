"""The files of an evaluation set that corpus.yaml names under `decontaminate:`."""

from pathlib import Path

from pipelines.sources.drops import Drop, listing_hash
from store.config.duplicates import Evaluation
from store.errors import SourceError
from store.workspace import Workspace


def listing(workspace: Workspace, evaluation: Evaluation) -> str:
    """A hash of the files of an evaluation. Raises SourceError where there are none."""
    return listing_hash(_drop(workspace, evaluation))


def _drop(workspace: Workspace, evaluation: Evaluation) -> Drop:
    path = _path(workspace, evaluation)
    if path.is_dir():
        return Drop(evaluation.name, str(path))
    return Drop(evaluation.name, str(path.parent), (path.name,))


def _path(workspace: Workspace, evaluation: Evaluation) -> Path:
    path = workspace.path(evaluation.path)
    if not path.exists():
        raise SourceError(f"decontaminate {evaluation.name!r}: there is nothing at {path}")
    return path
