"""The space that a corpus uses, with the projections that were learned for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedders.registry import load_encoder
from embedders.spaces import Space, alignment_steps, open_space
from store.errors import NotAlignedError
from store.tables import projections
from store.tables.lance_tables import Tables
from store.workspace import Workspace


def corpus_space(workspace: Workspace) -> Space:
    """Open the space that `space:` in corpus.yaml names.

    A tower that has not been aligned yet is opened too; its encoder raises NotAlignedError when
    it is used.

    Raises:
        EncoderError: the space's entry in corpus.yaml is not valid.
    """
    config = space_config(workspace)
    return open_stored_space(workspace.tables, workspace.config.space, config)


def open_stored_space(tables: Tables, name: str, config: Mapping[str, Any]) -> Space:
    """Open a space whose learned projections are stored beside the tables."""
    return open_space(name, config, projections.local_folder(tables, config))


def space_config(workspace: Workspace) -> dict[str, Any]:
    """The space's entry in corpus.yaml, with the current `projection` file of aligned towers.

    A projection is current if it was learned from the encoders that the space has now.
    """
    name, tables = workspace.config.space, workspace.tables
    config = dict(workspace.config.spaces[name])
    # In this order, the towers that a tower is aligned by have their own projections already.
    for step in alignment_steps(open_space(name, config)):
        space = open_stored_space(tables, name, config)
        for modality in step:
            try:
                anchors = anchor_fingerprints(space, modality, step)
            except NotAlignedError:
                continue
            encoder = load_encoder(space.aligned[modality].encoder).fingerprint
            current = projections.current_projection(tables, name, modality, encoder, anchors)
            if current is not None:
                config[modality] = {**config[modality], "projection": current.file}
    return config


def anchor_fingerprints(space: Space, modality: str, step: Sequence[str]) -> dict[str, str]:
    """Fingerprints of the towers that a tower is aligned by.

    Args:
        space: that has the towers.
        modality: of the tower.
        step: the modalities that are learned together; see `embedders.spaces.alignment_steps`.

    Returns:
        By modality, the fingerprint of the tower; for one in `step`, that of its bare encoder.

    Raises:
        NotAlignedError: one of the towers has not been aligned itself yet.
    """
    return {
        m: load_encoder(space.aligned[m].encoder).fingerprint if m in step else space.fingerprint(m)
        for m in space.aligned[modality].by
    }
