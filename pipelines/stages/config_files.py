"""Files that corpus.yaml names and that stages read."""

from pathlib import Path

from store.workspace import Workspace


def pair_head(workspace: Workspace) -> Path | None:
    """The file that `pairs.image_laion_aesthetic` names, if any.

    Raises:
        NotFoundError: it does not exist.
    """
    path = workspace.config.pairs.image_laion_aesthetic
    return None if path is None else workspace.file("pairs.image_laion_aesthetic", path)


def queries_file(workspace: Workspace) -> Path:
    """The file that `corrections.queries` names.

    Raises:
        NotFoundError: it does not exist.
    """
    return workspace.file("corrections.queries", workspace.config.corrections.queries or "")
