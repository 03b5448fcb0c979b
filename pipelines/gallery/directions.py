"""Fit the directions of the galleries: each query modality against each gallery.

A direction that was fitted on the same banks with the same settings is kept. Otherwise its
correction is chosen anew, and so are the floors by which k-occurrence is counted.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from pipelines.banks.labelled_queries import Gallery
from pipelines.engine.ray_tasks import results_in_order
from pipelines.gallery import k_occurrence
from pipelines.gallery.choose_correction import choose_correction
from pipelines.gallery.fitted_directions import FittedDirection, read_fitted
from pipelines.gallery.parts import GalleryParts
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corrections import Corrections
from store.tables.banks import Banks, check_encoders
from store.tables.direction import Direction
from store.tables.names import bank_table

MOST_ITEMS = 10_000  # gallery rows that a choice is made on, beside those of the validation pairs


class Fitted(NamedTuple):
    """The fitted directions of all galleries.

    Attributes:
        directions: by name.
        nearest: of directions that were fitted anew, `nearest` of their counted queries, by name.
    """

    directions: dict[str, FittedDirection]
    nearest: dict[str, np.ndarray | None]


def fit_directions(
    context: StageContext,
    parts: dict[str, GalleryParts],
    outputs: dict[str, str],
    use_ray: Callable[[int], bool],
) -> Fitted:
    """Fit the directions of all galleries. Those of the last galleries are kept if still valid.

    Args:
        parts: the parts of each gallery, by modality.
        outputs: of samples and signals, by drop.
        use_ray: whether work on so many rows is done on Ray, which is then connected.

    Raises:
        EncoderError: the banks hold vectors of other encoders.
    """
    tables, space = context.tables, context.space
    dataset = tables.open(bank_table(space.name))
    fit_key = run_keys.fit_settings(context)
    last = read_fitted(tables, space.name)
    names = [f"{query}->{gallery}" for query in parts for gallery in parts]
    if all(name in last and last[name].fit_key == fit_key for name in names):
        kept = (last[n]._replace(banks_version=dataset.version, drops=outputs) for n in names)
        return Fitted(dict(zip(names, kept, strict=True)), {})
    banks = Banks(dataset.to_table())
    check_encoders(banks, context.fingerprints, context.query_fingerprints)
    on_ray = use_ray(sum(part.count for part in parts.values()))
    corrections = _choose_all(banks, parts, context.config.corrections, on_ray)
    fitted, nearest = {}, {}
    for gallery, gallery_rows in parts.items():
        queries = {
            query: k_occurrence.counted_queries(banks.queries(query), query == gallery)
            for query in parts
            if len(banks.queries(query)[0])
        }
        with_floors = k_occurrence.with_floors(gallery_rows.vector_rows(), queries, on_ray=on_ray)
        for query in parts:
            name = f"{query}->{gallery}"
            counted = with_floors.get(query)
            floor = None if counted is None else counted.floor
            nearest[name] = None if counted is None else counted.nearest
            fitted[name] = FittedDirection(
                corrections[name], fit_key, dataset.version, floor, outputs
            )
    return Fitted(fitted, nearest)


def _choose_all(
    banks: Banks, parts: dict[str, GalleryParts], settings: Corrections, on_ray: bool
) -> dict[str, Direction]:
    """The correction of every direction, chosen side by side if it is done on Ray."""
    samples = {
        gallery: _choice_sample(rows, banks, settings.seed) for gallery, rows in parts.items()
    }
    pairs = [(query, gallery) for gallery in parts for query in parts]
    shared = (banks, samples, settings)
    chosen = results_in_order(_choose, shared, pairs, on_ray=on_ray)
    return {direction.name: direction for direction in chosen}


def _choose(
    shared: tuple[Banks, dict[str, Gallery], Corrections], pair: tuple[str, str]
) -> Direction:
    banks, samples, settings = shared
    query, gallery = pair
    return choose_correction(banks, query, gallery, samples[gallery], settings)


def _choice_sample(parts: GalleryParts, banks: Banks, seed: int) -> Gallery:
    """The rows that a choice is made on: all of the validation pairs, and others at random."""
    validation = banks.table.filter(pc.equal(banks.table["split"], "validation"))
    clusters = pc.unique(validation["cluster"].combine_chunks())
    rows, sample = parts.sample(clusters, MOST_ITEMS, seed)
    part_ids = sample["part_id"].to_numpy(zero_copy_only=False).astype(str)
    return Gallery(rows.vectors(), rows.clusters, part_ids)
