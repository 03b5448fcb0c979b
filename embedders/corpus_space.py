"""The corpus's space as it is now, with the projections that hold."""

from collections.abc import Sequence
from typing import Any

from embedders.registry import load
from embedders.spaces import Space, in_order, open_space
from store.errors import NotAlignedError
from store.tables import projections
from store.workspace import Workspace


def corpus_space(workspace: Workspace) -> Space:
    """The space of corpus.yaml's `space:`.

    Raises EncoderError where it is not valid. The encoder of a tower that has yet to be aligned
    raises NotAlignedError.
    """
    return open_space(workspace.config.space, space_config(workspace), workspace.tables.root)


def space_config(workspace: Workspace) -> dict[str, Any]:
    """The space's entry in corpus.yaml, its aligned towers with the `projection` that holds."""
    name, tables = workspace.config.space, workspace.tables
    config = dict(workspace.config.spaces[name])
    for step in in_order(open_space(name, config)):
        space = open_space(name, config, tables.root)
        for modality in step:
            try:
                anchors = anchored(space, modality, step)
            except NotAlignedError:
                continue
            encoder = load(space.aligned[modality].encoder).fingerprint
            found = projections.current(tables, name, modality, encoder, anchors)
            if found is not None:
                config[modality] = {**config[modality], "projection": found.file}
    return config


def anchored(space: Space, modality: str, step: Sequence[str]) -> dict[str, str]:
    """Fingerprints of what a tower is aligned by, by modality: of the towers that stand, and of the
    bare encoder of one that is learned in the same step.

    Raises NotAlignedError where one of them has yet to be aligned itself.
    """
    return {
        m: load(space.aligned[m].encoder).fingerprint if m in step else space.fingerprint(m)
        for m in space.aligned[modality].by
    }
