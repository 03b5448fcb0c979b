"""The space that a corpus uses, with the projections that were learned for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedders.registry import load_encoder
from embedders.spaces import Space, alignment_steps, open_space
from store.errors import EncoderError, NotAlignedError, NotFoundError
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

    A projection is current if it was learned from the encoders that the space has now. The towers
    of queries, if `queries` names another space, are written out with their current bridges.
    """
    name, tables = workspace.config.space, workspace.tables
    config = dict(workspace.config.spaces[name])
    named = config.pop("queries", None)
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
    if named is not None:
        config["queries"] = _bridged_towers(workspace, config)
    return config


def named_queries(workspace: Workspace) -> dict[str, str]:
    """The space that queries of each modality are encoded in, where corpus.yaml names another one.

    If it names one space for all modalities, these are the modalities that both spaces have.
    """
    name = workspace.config.space
    config = workspace.config.spaces[name]
    named = config.get("queries")
    if not isinstance(named, str):
        return dict(named or {})
    shared = open_space(name, config).towers.keys() & query_space(workspace, named)[0].towers.keys()
    return dict.fromkeys(sorted(shared), named)


def query_space(workspace: Workspace, name: str) -> tuple[Space, dict[str, dict[str, str]]]:
    """A space that queries of other spaces may be encoded in.

    Args:
        workspace: the corpus.
        name: under `spaces:` or `query_spaces:` of corpus.yaml.

    Returns:
        The space, and its towers as entries of `queries` without bridges, by modality.

    Raises:
        NotFoundError: corpus.yaml has no such space.
        EncoderError: its entry is not valid.
    """
    main, declared = workspace.of_space(None), workspace.config.query_spaces
    if name in declared:
        config = dict(declared[name])
    elif name in main.config.spaces:
        config = space_config(main.of_space(name))
        config.pop("queries", None)
    else:
        names = ", ".join([*main.config.spaces, *declared])
        raise NotFoundError(
            f"corpus.yaml has no space {name!r}, only {names}: give its towers under"
            " `query_spaces:` (they encode queries only), or under `spaces:`"
        )
    space = open_stored_space(workspace.tables, name, config)
    towers = {}
    for modality, spec in space.towers.items():
        aligned = space.aligned.get(modality)
        towers[modality] = {"encoder": spec if aligned is None else aligned.encoder}
        if aligned is not None and "projection" in config[modality]:
            towers[modality]["projection"] = config[modality]["projection"]
    return space, towers


def _bridged_towers(workspace: Workspace, config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The towers of queries by modality: `encoder`, `projection` if it is aligned in its own space,
    `bridge` (left out if none is current) and, with a bridge, `fingerprint`.

    Args:
        config: of the space, without `queries`.
    """
    tables, name = workspace.tables, workspace.config.space
    space = open_stored_space(tables, name, config)
    towers: dict[str, dict[str, str]] = {}
    for modality, new_name in named_queries(workspace).items():
        new, entries = query_space(workspace, new_name)
        if modality not in space.towers or modality not in new.towers:
            raise EncoderError(
                f"space {name!r}: queries of {modality} cannot be encoded in {new_name!r}: both"
                " spaces need a tower of this modality"
            )
        encoder, anchor = new.fingerprint(modality), space.fingerprint(modality)
        current = projections.current_projection(
            tables, name, modality, encoder, {modality: anchor}
        )
        towers[modality] = entries[modality]
        if current is not None:
            bridged = entries[modality] | {"bridge": current.file}
            opened = open_stored_space(tables, name, {**config, "queries": {modality: bridged}})
            fingerprint = opened.query_fingerprint(modality)
            towers[modality] = bridged | {"fingerprint": fingerprint}
    return towers


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
