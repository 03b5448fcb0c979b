"""Learns the bridges from a new space into a released one, and measures what they retain."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from embedders.corpus_space import query_space
from embedders.projection import Projection
from embedders.registry import load_encoder
from embedders.spaces import Space
from pipelines.banks.bridged_queries import as_queries
from pipelines.bridge.choose import ChosenBridge, choose_bridge, text_bridge
from pipelines.bridge.known_parts import KnownParts, encode_both, only_pairs, read_known
from pipelines.bridge.report import System, compare
from pipelines.stages.snapshot import Snapshot
from store.errors import EncoderError, InputError, NotFoundError
from store.tables import projections, releases
from store.tables.banks import Banks
from store.tables.names import bank_table
from store.tables.projections import LearnedProjection
from store.tables.releases import Release
from store.workspace import Workspace


@dataclass(frozen=True)
class BridgeReport:
    """Learned bridges, by modality, and what they retain.

    Attributes:
        learned: the recorded projections.
        bridges: how each was learned.
        directions: see `pipelines.bridge.report.compare`.
        missing: parts without a vector in the new space, by modality.
        seconds: that steps took: `encode`, `fit` and `compare`.
    """

    learned: list[LearnedProjection]
    bridges: dict[str, ChosenBridge]
    directions: dict[str, dict[str, Any]]
    missing: dict[str, int]
    seconds: dict[str, float]


def learn_bridges(
    workspace: Workspace,
    old: str,
    new: str,
    texts: Collection[str] = (),
    say: Callable[[str], None] = lambda message: None,
) -> BridgeReport:
    """Learn the bridges of all modalities that two spaces share, record them and compare them.

    Parts are those of the banks of the old space's newest release. The new encoder encodes them,
    unless the new space has vectors of its own.

    Args:
        workspace: the corpus.
        old: the name of the released space.
        new: the name of a space under `spaces:` or `query_spaces:` of corpus.yaml.
        texts: further texts, which both encoders encode.
        say: called with a message at the start of each step.

    Raises:
        NotFoundError: corpus.yaml has no such space, or the old space has no release.
        InputError: the spaces are the same, have no tower of text both, or there are too few texts.
        EncoderError: an encoder cannot be loaded, or is not the one of the release.
    """
    workspace = workspace.of_space(old)
    old = workspace.config.space
    if new == old:
        raise InputError(f"a bridge leads from another space into {old!r}, not from itself")
    space, (new_space, _) = Snapshot(workspace).space, query_space(workspace, new)
    shared = [m for m in space.towers if m in new_space.towers]
    if "text" not in shared:
        raise InputError(
            f"a bridge is learned from texts first: {old!r} and {new!r} both need a tower of text"
        )
    release = _released(workspace, space)
    stored = workspace.tables.open(bank_table(old), version=release.tag)
    banks = only_pairs(Banks(stored))
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def done(step: str) -> None:
        nonlocal started
        seconds[step] = time.perf_counter() - started
        started = time.perf_counter()

    say(f"encoding parts of the banks in {new}")
    known = {m: read_known(workspace, banks, new_space, m) for m in shared}
    further = [encode_both(space, new_space, texts)] if texts else []
    done("encode")
    say("learning bridges")
    own = known["text"]
    first = text_bridge([own["bank"].rows, *further], own["validation"].rows)
    bridges = {m: choose_bridge(first, m, known, banks) for m in shared if _has_parts(known[m])}
    done("fit")
    say(f"comparing with {old}")
    bridged = _bridged_banks(banks, known, bridges)
    systems = {"old": System(release, banks), "bridged": System(release, bridged)}
    if (full := _full_embedding(workspace, new_space)) is not None:
        systems["new"] = full
    settings = workspace.config.corrections
    directions = dict(compare(workspace.tables, systems, settings, list(bridges)))
    done("compare")
    missing = {m: sum(parts.missing for parts in known[m].values()) for m in shared}
    learned = [
        _save(workspace, space, new_space, m, bridge, directions) for m, bridge in bridges.items()
    ]
    projections.add_projections(workspace.tables, learned)
    return BridgeReport(learned, bridges, directions, missing, seconds)


def _released(workspace: Workspace, space: Space) -> Release:
    """The newest release of the space, made by its present encoders.

    Raises:
        NotFoundError: there is none.
        EncoderError: it was made by others.
    """
    release = releases.latest_release(workspace.tables, space.name)
    for modality, fingerprint in release.fingerprints.items():
        if fingerprint != (present := space.fingerprint(modality)):
            raise EncoderError(
                f"release {release.number} has {modality} vectors of {fingerprint}, but corpus.yaml"
                f" names {present} for {space.name!r}: a bridge leads into the released space, so"
                f" name its encoder again, and give the other one under `query_spaces:`"
            )
    return release


def _has_parts(known: dict[str, KnownParts]) -> bool:
    return any(len(parts.new) for parts in known.values())


def _bridged_banks(
    banks: Banks, known: dict[str, dict[str, KnownParts]], bridges: dict[str, ChosenBridge]
) -> Banks:
    """Banks with the parts as bridged queries."""
    table, added = banks.table, []
    for modality, bridge in bridges.items():
        for split, parts in known[modality].items():
            moved = bridge.projection(parts.new)
            row_of = {part: row for row, part in enumerate(parts.bank.parts.tolist())}
            rows = banks.select(table.schema.names, split=split, modality=modality)
            rows = rows.filter(
                pa.array([p in row_of for p in rows["part_id"].to_pylist()], pa.bool_())
            )
            order = [row_of[part] for part in rows["part_id"].to_pylist()]
            added.append(as_queries(rows, bridge.projection.fingerprint, moved[order]))
    return Banks(pa.concat_tables([table, *added]))


def _full_embedding(workspace: Workspace, new: Space) -> System | None:
    """The new space as it is stored, if it has a release that its present encoders made."""
    if new.name not in workspace.config.spaces:
        return None
    try:
        release = releases.latest_release(workspace.tables, new.name)
    except NotFoundError:
        return None
    if any(release.fingerprints.get(m) != new.fingerprint(m) for m in new.towers):
        return None
    stored = workspace.tables.open(bank_table(new.name), version=release.tag)
    return System(release, only_pairs(Banks(stored)))


def _save(
    workspace: Workspace,
    old: Space,
    new: Space,
    modality: str,
    bridge: ChosenBridge,
    directions: dict[str, dict[str, Any]],
) -> LearnedProjection:
    """Store the bridge of a modality."""
    encoder = load_encoder(new.towers[modality]).fingerprint
    anchors = {modality: old.fingerprint(modality)}
    figures = {
        "from": new.name,
        "map": bridge.name,
        "parts": bridge.parts,
        "reason": bridge.reason,
        **{name: f for name, f in directions.items() if name.startswith(f"{modality}->")},
    }
    file = projections.projection_file(old.name, modality, bridge.projection.fingerprint)
    meta = {"encoder": encoder, "anchors": anchors, "from": new.name, "map": bridge.name}
    with TemporaryDirectory() as folder:
        path = Path(folder, "projection.safetensors")
        Projection(bridge.projection.tensors, meta).save(path)
        workspace.tables.files.upload(path, file)
    created = projections.utc_now()
    return LearnedProjection(old.name, modality, encoder, anchors, file, figures, created)
