"""align: learns the projections of a space's aligned towers, from the corpus's own pairs.

Pairs are the kept samples that have both parts. Samples that share a part or a duplicate are on
one side of the validation split, and are no wrong answers to one another.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.alignment.align import Aligned, align
from embedders.corpus_space import anchored, space_config
from embedders.projection import Projection
from embedders.registry import load
from embedders.spaces import Space, in_order, open_space
from pipelines.decisions.kept_samples import kept_samples
from pipelines.stages import staleness
from pipelines.vectors import features
from store.arrays import as_matrix
from store.errors import InputError
from store.tables import projections
from store.tables.lance_tables import quote, take
from store.tables.projections import Learned
from store.workspace import Workspace

MAX_PAIRS = 100_000
MIN_PAIRS = 50


def align_space(
    workspace: Workspace,
    modalities: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[Learned]:
    """Learn the projections of the space's aligned towers, one after another, and put them in
    force.

    Args:
        modalities: learn those alone; the others' stand.
        say: told what is being done.

    Raises:
        InputError: no tower is aligned, or there are too few pairs to learn from.
        NotFoundError: the corpus has no decisions yet.
        EncoderError: an encoder cannot be loaded.
    """
    name = workspace.config.space
    bare = open_space(name, workspace.config.spaces[name])
    steps = [s for s in in_order(bare) if modalities is None or set(s) & set(modalities)]
    if not steps:
        asked = "" if modalities is None else f" among {', '.join(modalities)}"
        raise InputError(
            f"space {name!r} has no tower to align{asked}: one looks like"
            " audio: {encoder: clap:..., aligned_by: text}"
        )
    kept = kept_samples(workspace)
    learned: list[Learned] = []
    for step in steps:
        space = open_space(name, space_config(workspace), workspace.tables.root)
        for modality in sorted({m for s in step for m in (s, *space.aligned[s].by)}):
            for drop in staleness.known_drops(workspace):
                say(f"{modality} of {drop}")
                features.extract(workspace, drop, space, modality)
        say(f"learning {' and '.join(step)}")
        learned += _learn(workspace, space, kept, step)
    return learned


def _learn(
    workspace: Workspace, space: Space, kept: pa.Table, step: tuple[str, ...]
) -> list[Learned]:
    """Learn one step and put it in force."""
    modality, *others = step
    tower = space.aligned[modality]
    pairs = _pairs(kept, modality, tower.by)
    x = _rows(workspace, space, modality, pairs[f"{modality}_id"])
    anchors = [_rows(workspace, space, m, pairs[f"{m}_id"]) for m in tower.by]
    if not others:
        anchors = [_projected(space, m, rows) for m, rows in zip(tower.by, anchors, strict=True)]
    there = np.isfinite(x).all(axis=1)
    there &= np.any([np.isfinite(a).all(axis=1) for a in anchors], axis=0)
    if there.sum() < MIN_PAIRS:
        raise InputError(
            f"{there.sum()} pairs of {modality} with {' or '.join(tower.by)} are too few to align"
            f" by: at least {MIN_PAIRS} are needed, and thousands are better"
        )
    clusters = pc.dictionary_encode(pairs["cluster"].combine_chunks()).indices.to_numpy()
    found = align(
        x[there],
        [a[there] for a in anchors],
        groups=clusters[there].astype(np.int64),
        two_sided=bool(others),
        **tower.settings,
    )
    heads = [found.x] if found.y is None else [found.x, found.y]
    figures = _named(found, modality, tower.by)
    learned = [
        _save(workspace, space, step, m, head, figures) for m, head in zip(step, heads, strict=True)
    ]
    projections.record(workspace.tables, learned)
    return learned


def _pairs(kept: pa.Table, modality: str, anchors: Sequence[str]) -> pa.Table:
    """Samples that have the part and one to align it by, at most `MAX_PAIRS`, drawn by their id."""
    some = pc.is_valid(kept[f"{anchors[0]}_id"])
    for anchor in anchors[1:]:
        some = pc.or_(some, pc.is_valid(kept[f"{anchor}_id"]))
    pairs = kept.filter(pc.and_(pc.is_valid(kept[f"{modality}_id"]), some))
    return pairs.sort_by("id").slice(0, MAX_PAIRS)


def _rows(workspace: Workspace, space: Space, modality: str, parts: pa.ChunkedArray) -> np.ndarray:
    """Float32 (n, d) of parts as their encoder made them, NaN where there is none."""
    tables = workspace.tables
    table, spec = features.source(space, modality)
    encoder = load(spec)
    dataset = tables.open(table)
    known = dataset.to_table(
        columns=["part_id"], filter=f"encoder = {quote(encoder.fingerprint)}", with_row_id=True
    )
    place = pc.index_in(parts, value_set=known["part_id"].combine_chunks())
    there = pc.is_valid(place).to_numpy(zero_copy_only=False)
    rows = np.full((len(parts), encoder.dim), np.nan, np.float32)
    if there.any():
        ids = known["_rowid"].take(place.drop_null()).to_numpy()
        found = take(dataset.uri, dataset.version, ids.tolist(), ["vector"])
        rows[there] = as_matrix(found["vector"])
    return rows


def _projected(space: Space, modality: str, rows: np.ndarray) -> np.ndarray:
    """Rows of an encoder as they stand in the space."""
    if modality not in space.aligned:
        return rows
    projection: Projection = load(space.towers[modality]).projection  # type: ignore[attr-defined]
    there = np.isfinite(rows).all(axis=1)
    placed = np.full((len(rows), projection.dim), np.nan, np.float32)
    placed[there] = projection(rows[there])
    return placed


def _save(
    workspace: Workspace,
    space: Space,
    step: tuple[str, ...],
    modality: str,
    head: Projection,
    figures: dict[str, Any],
) -> Learned:
    encoder = load(space.aligned[modality].encoder).fingerprint
    anchors = anchored(space, modality, step)
    path, file = projections.new_file(workspace.tables, space.name, modality, head.fingerprint)
    meta = {"encoder": encoder, "anchors": anchors, "figures": figures}
    Projection(head.tensors, {**head.meta, **meta}).save(path)
    return Learned(space.name, modality, encoder, anchors, file, figures, projections.now())


def _named(found: Aligned, modality: str, anchors: Sequence[str]) -> dict[str, Any]:
    """The figures with modalities for x and y: `audio->text` for `x->y`."""
    names = {"x": modality, "y": anchors[0]}
    names |= {f"y{number}": anchor for number, anchor in enumerate(anchors)}

    def said(direction: str) -> str:
        query, arrow, searched = direction.partition("->")
        return f"{names[query]}->{names[searched]}" if arrow else direction

    return {said(key): value for key, value in found.figures.items()}
