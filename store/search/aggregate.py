"""Joins the scores of a sample's parts, for searches of the level "sample".

"max" gives a sample the score of its best part. "softmax" also counts its other parts: with the
calibrated scores c_i of its n parts that are in galleries, the score is

    log(mean_i exp(T c_i)) / T

It lies between the mean and the maximum; a part that is missing neither raises nor lowers it. CLaMR
(Wan et al. 2025) reports that the mean hurts samples whose answer is in one part. "learned" counts
the best part and each part by weights that the release has learned (`store.tables.part_weights`).

No score falls when that of a part grows. So the best samples are proven to be found once the last
of them has the highest score that a sample can have whose parts are all behind the list.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import InputError
from store.search.column_plan import WeightedInput
from store.search.explanation import CountedPart
from store.search.gallery_search import GallerySearch
from store.search.open_gallery import ROW_ID
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.ranked import Ranked, without
from store.search.rerank import first_of_each
from store.tables.lance_tables import one_of
from store.tables.part_weights import PartWeights, mix

SCORE = "_aggregated"
SHARPNESS = 4.0  # T: at 0 the mean, at infinity the maximum


def check_aggregate(query: Query) -> None:
    """Raise InputError if an aggregation is joined with what does not score samples by vectors."""
    if query.gallery != "sample" or query.full_text or query.expansion:
        raise InputError(
            f'aggregate("{query.aggregation}") joins scores of vectors at the level "sample":'
            " leave out hybrid() and expand()"
        )


def learned_weights(
    opened: OpenRelease, query: Query, inputs: Sequence[WeightedInput]
) -> PartWeights | None:
    """The weights of a query: of several inputs, the mean by their weights. None: a soft maximum.

    Args:
        opened: the release.
        query: its aggregation is used.
        inputs: of the query. Negative ones do not count.

    Raises:
        InputError: the release has no weights for the modality of an input.
    """
    if query.aggregation != "learned":
        return None
    learned, number = opened.release.part_weights, opened.release.number
    if learned is None:
        raise InputError(
            f'aggregate("learned"): release {number} is older than learned weights: `isotrope run`'
            ' makes a release that has them; aggregate("softmax") needs none'
        )
    wanted = [each for each in inputs if each.weight > 0]
    for modality in dict.fromkeys(each.modality for each in wanted):
        if modality not in learned:
            raise InputError(
                f'aggregate("learned"): release {number} has no weights for {modality} queries,'
                f" because it has too few validation pairs with other modalities; it has them for"
                f' {", ".join(learned) or "none"}. aggregate("softmax") needs none'
            )
    total = sum(each.weight for each in wanted)
    return mix([(each.weight / total, learned[each.modality]) for each in wanted])


def aggregate(
    searches: Sequence[GallerySearch],
    ranked: Ranked,
    own_parts: frozenset[str],
    count: int,
    weights: PartWeights | None,
) -> Ranked:
    """The `count` best samples by the scores of all their parts, each with its best part.

    Args:
        searches: of the query, one for each gallery.
        ranked: the best parts by calibrated scores.
        own_parts: of the query, which do not count.
        count: the largest number of samples.
        weights: of the parts. None: the soft maximum.

    Raises:
        InputError: the query's correction is not compiled into the release.
    """
    listed = ranked.answer.rows
    rows = _parts(searches, pc.unique(listed["id"]).to_pylist(), own_parts)
    codes = rows["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    scores = _joined(rows, codes, weights)
    best = first_of_each(rows["id"])
    rows = rows.take(pa.array(best)).append_column(SCORE, pa.array(scores[codes[best]]))
    rows = rows.take(pc.sort_indices(rows, [(SCORE, "descending")])).slice(0, count)
    is_proven = ranked.is_all or not listed.num_rows
    if not is_proven and rows.num_rows:
        lowest = float(listed["_calibrated"].to_numpy().min())
        bound = lowest if weights is None else weights.bound(lowest)
        is_proven = rows.num_rows == count and rows[SCORE][-1].as_py() >= bound
    complete = ranked.answer.complete and is_proven
    notes = ranked.answer.notes if weights is None else (*ranked.answer.notes, weights.reason)
    answer = replace(ranked.answer, rows=rows, complete=complete, notes=notes)
    return Ranked(answer, SCORE, ranked.is_all)


def counted_parts(
    searches: Sequence[GallerySearch],
    sample: str,
    own_parts: frozenset[str],
    weights: PartWeights,
) -> tuple[CountedPart, ...]:
    """What each part of a sample adds to its score by learned weights, the best part first."""
    rows = _parts(searches, [sample], own_parts).select(["modality", "_calibrated"]).to_pylist()
    counted = []
    for number, row in enumerate(rows):
        modality, score = row["modality"], row["_calibrated"]
        weight, offset = (each.get(modality, 0.0) for each in (weights.weights, weights.offsets))
        adds = float(weights.counted(modality, np.array(score)))
        adds += 0.0 if number else weights.best * score
        counted.append(CountedPart(modality, score, weight, offset, adds))
    return tuple(counted)


def log_mean_exp(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The soft maximum of the scores (n,) of each group: float64, by the group's number.

    Args:
        scores: (n,).
        groups: (n,) numbers from 0 on, without gaps.
    """
    count = int(groups.max(initial=-1)) + 1
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, groups, scores)
    powers = np.exp(SHARPNESS * (scores - highest[groups]))
    means = np.bincount(groups, powers, count) / np.maximum(np.bincount(groups, minlength=count), 1)
    return highest + np.log(means) / SHARPNESS


def _joined(rows: pa.Table, codes: np.ndarray, weights: PartWeights | None) -> np.ndarray:
    """The score of each sample, by its number.

    Args:
        rows: parts.
        codes: (n,) the numbers of their samples, from 0 on, without gaps.
        weights: of the parts. None: the soft maximum.
    """
    scores = rows["_calibrated"].to_numpy()
    if weights is None or not len(codes):
        return log_mean_exp(scores, codes)
    modalities = rows["modality"].to_numpy(zero_copy_only=False)
    parts = {}
    for modality in np.unique(modalities.astype(str)).tolist():
        own = modalities == modality
        parts[modality] = np.full(int(codes.max()) + 1, np.nan)
        parts[modality][codes[own]] = scores[own]
    return weights.scores(parts)


def _parts(
    searches: Sequence[GallerySearch], samples: list[str], own_parts: frozenset[str]
) -> pa.Table:
    """The scored parts of samples that satisfy the query's condition, best first, without its own
    parts."""
    answer = [_parts_in(search, samples) for search in searches]
    rows = without(pa.concat_tables(answer, promote_options="permissive"), own_parts)
    return rows.take(pc.sort_indices(rows, [("_calibrated", "descending")]))


def _parts_in(search: GallerySearch, samples: list[str]) -> pa.Table:
    """The scored parts of samples in one gallery that satisfy the condition of the query."""
    condition = one_of("id", samples) if samples else "false"
    if search.where is not None:
        condition = f"({search.where}) AND {condition}"
    rows = search.gallery.table.to_table(columns=[], filter=condition, with_row_id=True)
    return search.rows(rows[ROW_ID].to_pylist())
