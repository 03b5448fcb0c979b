"""Grows the projections of a space's aligned towers with the pairs of new drops.

A projection knows which drops it was learned from. Pairs of other drops are new, unless they share
a part with a sample of a known drop. What is learned is compared before and after on held-out pairs
of the known and of the new drops, and a head that surely loses on the known ones is not adopted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from embedders.alignment.grow import Comparison, grow
from embedders.alignment.settings import CLOSED_FORMS, Settings
from embedders.corpus_space import anchor_fingerprints, corpus_space
from embedders.registry import load_encoder
from embedders.spaces import Space
from pipelines.decisions.kept_samples import KeptSamples, kept_samples
from pipelines.vectors import features
from pipelines.vectors.align import named_figures, pairs_query, save_step, step_pairs, steps_of
from pipelines.vectors.pair_sums_file import load_sums
from pipelines.vectors.pair_weights import pair_weights
from store.errors import InputError
from store.tables import projections
from store.tables.lance_tables import quote
from store.tables.projections import LearnedProjection
from store.workspace import Workspace

_NEW, _REPLAYED = 100_000, 20_000  # at most so many pairs


@dataclass(frozen=True)
class GrownStep:
    """What became of one step of an alignment.

    Attributes:
        modalities: of its projections.
        drops: the new ones.
        old, new: how the heads compare on held-out pairs of the known and of the new drops.
        adopted: whether the new projections are the current ones.
    """

    modalities: tuple[str, ...]
    drops: tuple[str, ...]
    old: Comparison
    new: Comparison
    adopted: bool


def grow_space(
    workspace: Workspace,
    modalities: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda message: None,
    force: bool = False,
) -> list[GrownStep]:
    """Learn the projections of the space's aligned towers further from the drops they do not know.

    Args:
        modalities: only the towers of these; None: all.
        say: called with a message at the start of each step.
        force: adopt a head that loses on the known drops too.

    Returns:
        What became of the steps that have new pairs.

    Raises:
        InputError: no tower is aligned, a tower has no head yet, or none that can grow, or there
            are too few new pairs.
        NotFoundError: the corpus has no decisions yet.
    """
    grown = []
    for step in steps_of(workspace, modalities):
        space = corpus_space(workspace)
        current = [_current(workspace, space, step, m) for m in step]
        known = current[0].figures.get("drops")
        if known is None:
            raise InputError(
                f"the projection of {step[0]} does not say which drops it was learned from: learn"
                " it anew with `isotrope align`"
            )
        with TemporaryDirectory() as folder, kept_samples(workspace, Path(folder)) as kept:
            new, replay = _pairs(kept, space, step, known)
        if not new.num_rows:
            say(f"{' and '.join(step)}: no pairs of other drops than {len(known)} known ones")
            continue
        drops = sorted(set(new["drop"].to_pylist()))
        for modality in sorted({m for s in step for m in (s, *space.aligned[s].by)}):
            for drop in drops:
                say(f"{modality} of {drop}")
                features.extract(workspace, drop, space, modality)
        say(f"learning {' and '.join(step)} from {len(drops)} new drops")
        grown.append(_grow_step(workspace, space, step, current, new, replay, drops, force))
    return grown


def _grow_step(
    workspace: Workspace,
    space: Space,
    step: tuple[str, ...],
    current: list[LearnedProjection],
    new: pa.Table,
    replay: pa.Table,
    drops: list[str],
    force: bool,
) -> GrownStep:
    modality, *others = step
    tower, figures = space.aligned[modality], current[0].figures
    settings = Settings(**figures["settings"])
    arrived, known = (step_pairs(workspace, space, each, step) for each in (new, replay))
    if tower.mismatch:
        weights = pair_weights(
            arrived.x,
            arrived.anchors,
            groups=arrived.labels,
            two_sided=bool(others),
            **figures["settings"],
        )
        arrived = replace(arrived, weights=weights)
    files = workspace.tables.files
    is_closed = settings.method in CLOSED_FORMS
    result = grow(
        [load_encoder(space.towers[m]).projection for m in step],  # type: ignore[attr-defined]
        known,
        arrived,
        settings=settings,
        sums=load_sums(files, current[0].file) if is_closed else None,
    )
    adopted = force or not result.old.loses
    if adopted:
        named = named_figures(result.figures, modality, tower.by)
        named |= {"settings": figures["settings"], "drops": sorted({*figures["drops"], *drops})}
        save_step(workspace, space, step, result.heads, named, result.sums)
    return GrownStep(step, tuple(drops), result.old, result.new, adopted)


def _current(
    workspace: Workspace, space: Space, step: tuple[str, ...], modality: str
) -> LearnedProjection:
    encoder = load_encoder(space.aligned[modality].encoder).fingerprint
    anchors = anchor_fingerprints(space, modality, step)
    current = projections.current_projection(
        workspace.tables, space.name, modality, encoder, anchors
    )
    if current is None:
        raise InputError(
            f"{modality} has no projection yet that could grow: `isotrope align` learns one"
        )
    return current


def _pairs(
    kept: KeptSamples, space: Space, step: tuple[str, ...], known: Iterable[str]
) -> tuple[pa.Table, pa.Table]:
    """Pairs of new drops, and a random draw of those of known ones: the smallest ids."""
    pairs = pairs_query(step[0], space.aligned[step[0]].by)
    is_known = f'"drop" IN ({", ".join(map(quote, known))})'
    own, scratch = f"(FROM kept WHERE {is_known} AND in_range(cluster))", kept.scratch
    new = f"FROM kept ANTI JOIN {own} USING (cluster) WHERE in_range(cluster)"
    scratch.create("arrived", new, kept="cluster")
    arrived = pairs.replace("FROM kept", "FROM arrived")
    return (
        scratch.select(f"{arrived} ORDER BY id, number LIMIT {_NEW}", "arrived"),
        scratch.select(f"{pairs} AND {is_known} ORDER BY id, number LIMIT {_REPLAYED}", "kept"),
    )
