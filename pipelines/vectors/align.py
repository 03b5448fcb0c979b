"""Learns the projections of a space's aligned towers, from pairs of the corpus itself.

Pairs are the kept samples that have both parts. Samples that share a part or are duplicates form a
cluster. A cluster is on one side of the validation split, and its samples are never negatives of
each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.alignment.align import align
from embedders.alignment.choose import Tried, as_figures, choose, learning_curve
from embedders.alignment.grow import PairSet, SplitSums
from embedders.alignment.settings import CLOSED_FORMS
from embedders.corpus_space import anchor_fingerprints, corpus_space
from embedders.projection import Projection
from embedders.registry import load_encoder
from embedders.spaces import METHODS, Space, alignment_steps, open_space
from pipelines.decisions.kept_samples import KeptSamples, kept_samples
from pipelines.engine.part_vectors import stored_vectors
from pipelines.stages import staleness
from pipelines.vectors import features
from pipelines.vectors.pair_sums_file import save_sums
from pipelines.vectors.pair_weights import pair_weights
from store.errors import InputError
from store.tables import projections
from store.tables.projections import LearnedProjection
from store.workspace import Workspace

MAX_PAIRS = 100_000
MIN_PAIRS = 50
_HELD = 10  # one in so many clusters is held out when heads grow
AUTO = "auto"


def align_space(
    workspace: Workspace,
    modalities: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda message: None,
    method: str | None = None,
) -> list[LearnedProjection]:
    """Learn the projections of the space's aligned towers, one after another.

    Each projection is recorded as the current one as soon as it is learned.

    Args:
        modalities: learn only the towers of these; None: all. The other projections are kept.
        say: called with a message at the start of each step.
        method: see `embedders.alignment.settings.Settings`; or `auto`, which cross-validation
            chooses. None: that of the tower in corpus.yaml, or `auto` if it names no head.

    Raises:
        InputError: no tower is aligned, there are too few pairs to learn from, or there is no such
            method.
        NotFoundError: the corpus has no decisions yet.
        EncoderError: an encoder cannot be loaded.
    """
    if method is not None and method not in METHODS:
        raise InputError(f"method {method!r}; allowed: {', '.join(METHODS)}")
    steps = steps_of(workspace, modalities)
    aligned = _unaligned(workspace).aligned
    with TemporaryDirectory() as folder, kept_samples(workspace, Path(folder)) as kept:
        pairs = {step: aligned_pairs(kept, step[0], aligned[step[0]].by) for step in steps}
    learned: list[LearnedProjection] = []
    for step in steps:
        space = corpus_space(workspace)
        for modality in sorted({m for s in step for m in (s, *space.aligned[s].by)}):
            for drop in staleness.drops_with_samples(workspace):
                say(f"{modality} of {drop}")
                features.extract(workspace, drop, space, modality)
        say(f"learning {' and '.join(step)}")
        learned += _learn(workspace, space, pairs[step], step, say, method)
    return learned


def steps_of(workspace: Workspace, modalities: Sequence[str] | None) -> list[tuple[str, ...]]:
    """The steps of the space's alignment that learn one of these modalities, or all.

    Raises:
        InputError: there are none.
    """
    unaligned = _unaligned(workspace)
    steps = [
        s for s in alignment_steps(unaligned) if modalities is None or set(s) & set(modalities)
    ]
    if not steps:
        among = "" if modalities is None else f" among {', '.join(modalities)}"
        raise InputError(
            f"space {unaligned.name!r} has no tower to align{among}: an aligned tower is"
            " configured like audio: {encoder: clap:..., aligned_by: text}"
        )
    return steps


def _unaligned(workspace: Workspace) -> Space:
    name = workspace.config.space
    return open_space(name, workspace.config.spaces[name])


def _learn(
    workspace: Workspace,
    space: Space,
    pairs: pa.Table,
    step: tuple[str, ...],
    say: Callable[[str], None],
    method: str | None,
) -> list[LearnedProjection]:
    """Learn one step and record its projections.

    Args:
        pairs: the samples to learn from (`aligned_pairs`).
        step: a modality, or two that are aligned by each other.
        say, method: see `align_space`.
    """
    modality, *others = step
    tower = space.aligned[modality]
    known = step_pairs(workspace, space, pairs, step)
    rows, sides = known.x, known.anchors
    common: dict[str, Any] = {"groups": known.labels, "two_sided": bool(others)}
    settings = dict(tower.settings)
    named = settings.pop("method", "contrastive" if {"kind", "structure"} & set(settings) else AUTO)
    weights = None
    if tower.mismatch:
        say("judging pairs by heads that are learned without them")
        weights = pair_weights(rows, sides, **common, **settings)
    tried: list[Tried] = []
    if (method or named) == AUTO:
        say("choosing how to learn by cross-validation")
        settings, tried = choose(rows, sides, weights=weights, **common, **settings)
    else:
        settings["method"] = method or named
    aligned = align(rows, sides, weights=weights, **common, **settings)
    heads = [aligned.x] if aligned.y is None else [aligned.x, aligned.y]
    figures = named_figures(aligned.figures, modality, tower.by)
    if tried:
        say("measuring what more pairs would give")
        curve = learning_curve(rows, sides, weights=weights, **common, **settings)
        figures |= as_figures(tried, curve)
    if weights is not None:
        figures["mismatched_pairs"] = round(float((1 - weights).sum()), 1)
    sums = None
    if settings.get("method") in CLOSED_FORMS:
        trusted = known if weights is None else replace(known, weights=weights)
        sums = SplitSums.of(trusted, bool(others))
    figures |= {"settings": settings, "drops": sorted(set(pairs["drop"].to_pylist()))}
    return save_step(workspace, space, step, heads, figures, sums)


def step_pairs(
    workspace: Workspace, space: Space, pairs: pa.Table, step: tuple[str, ...]
) -> PairSet:
    """The features of the pairs of a step that have both sides. A tenth is held out, by cluster.

    Args:
        pairs: rows of `KeptSamples`.
        step: a modality, or two that are aligned by each other.

    Raises:
        InputError: there are too few.
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
    clusters = pc.dictionary_encode(pairs["cluster"].combine_chunks())
    # Ids are hashes, so this is a random tenth, and the same one whenever pairs are added.
    held = [int(name[:8], 16) % _HELD == 0 for name in clusters.dictionary.to_pylist()]
    labels = clusters.indices.to_numpy().astype(np.int64)
    every = PairSet(x, anchors, labels, np.ones(len(x), np.float32), np.array(held)[labels])
    return every.take(usable)


def aligned_pairs(kept: KeptSamples, modality: str, anchors: Sequence[str]) -> pa.Table:
    """Samples that have the part and at least one anchor.

    At most `MAX_PAIRS`, those of the smallest ids. Ids are hashes, so this is a random draw.
    """
    pairs = pairs_query(modality, anchors)
    return kept.scratch.select(f"{pairs} ORDER BY id, number LIMIT {MAX_PAIRS}", "kept")


def pairs_query(modality: str, anchors: Sequence[str]) -> str:
    """SQL of the kept samples that have the part and at least one anchor."""
    anchored = " OR ".join(f"{anchor}_id IS NOT NULL" for anchor in anchors)
    return f"FROM kept WHERE {modality}_id IS NOT NULL AND ({anchored})"


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


def save_step(
    workspace: Workspace,
    space: Space,
    step: tuple[str, ...],
    heads: Sequence[Projection],
    figures: dict[str, Any],
    sums: SplitSums | None,
) -> list[LearnedProjection]:
    """Store the projections of a step and make them the current ones.

    Args:
        heads: of the modalities of the step.
        figures: that are stored with them.
        sums: of the pairs, stored beside the first projection, from which it can grow; or None.
    """
    learned = []
    for modality, head in zip(step, heads, strict=True):
        encoder = load_encoder(space.aligned[modality].encoder).fingerprint
        anchors = anchor_fingerprints(space, modality, step)
        file = projections.projection_file(space.name, modality, head.fingerprint)
        meta = {"encoder": encoder, "anchors": anchors, "figures": figures}
        with TemporaryDirectory() as folder:
            path = Path(folder, "projection.safetensors")
            Projection(head.tensors, {**head.meta, **meta}).save(path)
            workspace.tables.files.upload(path, file)
        entry = (space.name, modality, encoder, anchors, file, figures, projections.utc_now())
        learned.append(LearnedProjection(*entry))
    if sums is not None:
        save_sums(workspace.tables.files, learned[0].file, sums)
    projections.add_projections(workspace.tables, learned)
    return learned


def named_figures(
    figures: Mapping[str, Any], modality: str, anchors: Sequence[str]
) -> dict[str, Any]:
    """The figures with names of modalities instead of x and y: `audio->text` for `x->y`."""
    names = {"x": modality, "y": anchors[0]}
    names |= {f"y{number}": anchor for number, anchor in enumerate(anchors)}

    def name(key: str) -> str:
        query, arrow, searched = key.partition("->")
        return f"{names[query]}->{names[searched]}" if arrow else key

    return {name(key): value for key, value in figures.items()}
