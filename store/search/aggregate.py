"""Joins the scores of a sample's parts, for searches of the level "sample".

"max" gives a sample the score of its best part. "softmax" also counts its other parts: with the
calibrated scores c_i of its n parts that are in galleries, the score is

    log(mean_i exp(T c_i)) / T

It lies between the mean and the maximum; a part that is missing neither raises nor lowers it. CLaMR
(Wan et al. 2025) reports that the mean hurts samples whose answer is in one part.

A score is at most that of the best part. So the best samples are proven to be found once the last
of them has a score that no part behind the list reaches.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.search.gallery_search import GallerySearch
from store.search.open_gallery import ROW_ID
from store.search.ranked import Ranked, without
from store.search.rerank import first_of_each
from store.tables.lance_tables import one_of

SCORE = "_aggregated"
SHARPNESS = 4.0  # T: at 0 the mean, at infinity the maximum


def aggregate(
    searches: Sequence[GallerySearch], ranked: Ranked, own_parts: frozenset[str], count: int
) -> Ranked:
    """The `count` best samples by the scores of all their parts, each with its best part.

    Args:
        searches: of the query, one for each gallery.
        ranked: the best parts by calibrated scores.
        own_parts: of the query, which do not count.
        count: the largest number of samples.

    Raises:
        InputError: the query's correction is not compiled into the release.
    """
    listed = ranked.found.rows
    samples = pc.unique(listed["id"]).to_pylist()
    found = [_parts(search, samples) for search in searches]
    rows = without(pa.concat_tables(found, promote_options="permissive"), own_parts)
    rows = rows.take(pc.sort_indices(rows, [("_calibrated", "descending")]))
    codes = rows["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    scores = log_mean_exp(rows["_calibrated"].to_numpy(), codes)
    best = first_of_each(rows["id"])
    rows = rows.take(pa.array(best)).append_column(SCORE, pa.array(scores[codes[best]]))
    rows = rows.take(pc.sort_indices(rows, [(SCORE, "descending")])).slice(0, count)
    is_proven = ranked.is_all or not listed.num_rows
    if not is_proven and rows.num_rows:
        bound = float(listed["_calibrated"].to_numpy().min())
        is_proven = rows.num_rows == count and rows[SCORE][-1].as_py() >= bound
    complete = ranked.found.complete and is_proven
    return Ranked(replace(ranked.found, rows=rows, complete=complete), SCORE, ranked.is_all)


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


def _parts(search: GallerySearch, samples: list[str]) -> pa.Table:
    """The scored parts of samples in one gallery that satisfy the condition of the query."""
    condition = one_of("id", samples) if samples else "false"
    if search.where is not None:
        condition = f"({search.where}) AND {condition}"
    rows = search.gallery.table.to_table(columns=[], filter=condition, with_row_id=True)
    return search.rows(rows[ROW_ID].to_pylist())
