"""Learns the projections of a space's aligned towers, from pairs of the corpus itself.

Pairs are the kept samples that have both parts. Samples that share a part or are duplicates form a
cluster. A cluster is on one side of the validation split, and its samples are never negatives of
each other.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.alignment.align import AlignmentResult, align
from embedders.corpus_space import anchor_fingerprints, corpus_space
from embedders.projection import Projection
from embedders.registry import load_encoder
from embedders.spaces import Space, alignment_steps, open_space
from pipelines.decisions.kept_samples import KeptSamples, kept_samples
from pipelines.engine.part_vectors import stored_vectors
from pipelines.stages import staleness
from pipelines.vectors import features
from pipelines.vectors.pair_weights import pair_weights
from store.errors import InputError
from store.tables import projections
from store.tables.projections import LearnedProjection
from store.workspace import Workspace

MAX_PAIRS = 100_000
MIN_PAIRS = 50


def align_space(
    workspace: Workspace,
    modalities: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[LearnedProjection]:
    """Learn the projections of the space's aligned towers, one after another.

    Each projection is recorded as the current one as soon as it is learned.

    Args:
        modalities: learn only the towers of these; None: all. The other projections are kept.
        say: called with a message at the start of each step.

    Raises:
        InputError: no tower is aligned, or there are too few pairs to learn from.
        NotFoundError: the corpus has no decisions yet.
        EncoderError: an encoder cannot be loaded.
    """
    name = workspace.config.space
    unaligned = open_space(name, workspace.config.spaces[name])
    steps = [
        s for s in alignment_steps(unaligned) if modalities is None or set(s) & set(modalities)
    ]
    if not steps:
        among = "" if modalities is None else f" among {', '.join(modalities)}"
        raise InputError(
            f"space {name!r} has no tower to align{among}: an aligned tower is configured like"
            " audio: {encoder: clap:..., aligned_by: text}"
        )
    with TemporaryDirectory() as folder, kept_samples(workspace, Path(folder)) as kept:
        pairs = {step: _pairs(kept, step[0], unaligned.aligned[step[0]].by) for step in steps}
    learned: list[LearnedProjection] = []
    for step in steps:
        space = corpus_space(workspace)
        for modality in sorted({m for s in step for m in (s, *space.aligned[s].by)}):
            for drop in staleness.drops_with_samples(workspace):
                say(f"{modality} of {drop}")
                features.extract(workspace, drop, space, modality)
        say(f"learning {' and '.join(step)}")
        learned += _learn(workspace, space, pairs[step], step, say)
    return learned


def _learn(
    workspace: Workspace,
    space: Space,
    pairs: pa.Table,
    step: tuple[str, ...],
    say: Callable[[str], None],
) -> list[LearnedProjection]:
    """Learn one step and record its projections.

    Args:
        pairs: the samples to learn from (`_pairs`).
        step: a modality, or two that are aligned by each other.
        say: see `align_space`.
    """
    modality, *others = step
    tower = space.aligned[modality]
    x = _features(workspace, space, modality, pairs[f"{modality}_id"])
    anchors = [_features(workspace, space, m, pairs[f"{m}_id"]) for m in tower.by]
    if not others:
        anchors = [_projected(space, m, rows) for m, rows in zip(tower.by, anchors, strict=True)]
    usable = np.isfinite(x).all(axis=1)
    usable &= np.any([np.isfinite(a).all(axis=1) for a in anchors], axis=0)
    if usable.sum() < MIN_PAIRS:
        raise InputError(
            f"{usable.sum()} pairs of {modality} with {' or '.join(tower.by)} are too few to align"
            f" by: at least {MIN_PAIRS} are needed, and thousands are better"
        )
    clusters = pc.dictionary_encode(pairs["cluster"].combine_chunks()).indices.to_numpy()
    rows, sides = x[usable], [a[usable] for a in anchors]
    settings = {
        "groups": clusters[usable].astype(np.int64),
        "two_sided": bool(others),
        **tower.settings,
    }
    weights = None
    if tower.mismatch:
        say("judging pairs by heads that are learned without them")
        weights = pair_weights(rows, sides, **settings)
    aligned = align(rows, sides, weights=weights, **settings)
    heads = [aligned.x] if aligned.y is None else [aligned.x, aligned.y]
    figures = _named_figures(aligned, modality, tower.by)
    if weights is not None:
        figures["mismatched_pairs"] = round(float((1 - weights).sum()), 1)
    learned = [
        _save(workspace, space, step, m, head, figures) for m, head in zip(step, heads, strict=True)
    ]
    projections.add_projections(workspace.tables, learned)
    return learned


def _pairs(kept: KeptSamples, modality: str, anchors: Sequence[str]) -> pa.Table:
    """Samples that have the part and at least one anchor.

    At most `MAX_PAIRS`, those of the smallest ids. Ids are hashes, so this is a random draw.
    """
    anchored = " OR ".join(f"{anchor}_id IS NOT NULL" for anchor in anchors)
    return kept.table(
        f"FROM kept WHERE {modality}_id IS NOT NULL AND ({anchored})"
        f" ORDER BY id, number LIMIT {MAX_PAIRS}"
    )


def _features(
    workspace: Workspace, space: Space, modality: str, parts: pa.ChunkedArray
) -> np.ndarray:
    """The encoder's output for parts, before any projection: float32 (n, d), NaN where missing."""
    table, spec = features.source(space, modality)
    encoder = load_encoder(spec)
    return stored_vectors(workspace.tables, table, encoder.fingerprint, encoder.dim, parts)


def _projected(space: Space, modality: str, rows: np.ndarray) -> np.ndarray:
    """An encoder's output projected into the space; unchanged for a tower without a projection."""
    if modality not in space.aligned:
        return rows
    projection: Projection = load_encoder(space.towers[modality]).projection  # type: ignore[attr-defined]
    present = np.isfinite(rows).all(axis=1)
    projected = np.full((len(rows), projection.dim), np.nan, np.float32)
    projected[present] = projection(rows[present])
    return projected


def _save(
    workspace: Workspace,
    space: Space,
    step: tuple[str, ...],
    modality: str,
    head: Projection,
    figures: dict[str, Any],
) -> LearnedProjection:
    encoder = load_encoder(space.aligned[modality].encoder).fingerprint
    anchors = anchor_fingerprints(space, modality, step)
    file = projections.projection_file(space.name, modality, head.fingerprint)
    meta = {"encoder": encoder, "anchors": anchors, "figures": figures}
    with TemporaryDirectory() as folder:
        path = Path(folder, "projection.safetensors")
        Projection(head.tensors, {**head.meta, **meta}).save(path)
        workspace.tables.files.upload(path, file)
    return LearnedProjection(
        space.name, modality, encoder, anchors, file, figures, projections.utc_now()
    )


def _named_figures(
    aligned: AlignmentResult, modality: str, anchors: Sequence[str]
) -> dict[str, Any]:
    """The figures with names of modalities instead of x and y: `audio->text` for `x->y`."""
    names = {"x": modality, "y": anchors[0]}
    names |= {f"y{number}": anchor for number, anchor in enumerate(anchors)}

    def name(key: str) -> str:
        query, arrow, searched = key.partition("->")
        return f"{names[query]}->{names[searched]}" if arrow else key

    return {name(key): value for key, value in aligned.figures.items()}
