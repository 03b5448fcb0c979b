"""The pairs and banks of a trial: a bounded sample, with ids that show where they overlap."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from store.arrays import connected_components, lookup
from store.corrections.kernels.arrays import Array, to_numpy
from store.corrections.kernels.masks import as_ids
from store.metrics.retrieval import Relevant

# More rows cost minutes, and the choice hardly gains from them (docs/scale.md).
MOST_QUERIES, MOST_ITEMS, MOST_BANK_ROWS = 2_000, 4_096, 2_048


@dataclass(frozen=True)
class Samples:
    """Pairs and banks with their ids, as `select` takes them, as numpy arrays."""

    gallery: np.ndarray
    query_bank: np.ndarray
    gallery_bank: np.ndarray
    queries: np.ndarray
    relevant: Relevant
    gallery_ids: np.ndarray | None
    query_bank_ids: np.ndarray | None
    gallery_bank_ids: np.ndarray | None
    exclude: np.ndarray | None = None


def sample_pairs(
    rng: np.random.Generator,
    *,
    gallery: Array,
    query_bank: Array,
    gallery_bank: Array,
    queries: Array,
    relevant: Relevant,
    gallery_ids: Any,
    query_bank_ids: Any,
    gallery_bank_ids: Any,
    exclude: np.ndarray | None,
) -> Samples:
    """Draw at most `MOST_QUERIES` queries that have relevant items, and a gallery for them.

    The gallery holds all relevant items of these queries and random other items, up to
    `MOST_ITEMS` in all. Arguments are those of `select`.
    """
    query_index = np.flatnonzero(relevant.count > 0)
    if query_index.size > MOST_QUERIES:
        query_index = np.sort(rng.choice(query_index, MOST_QUERIES, replace=False))
    drawn = np.isin(relevant.query, query_index)
    answers = np.unique(relevant.rows[drawn])
    others = np.setdiff1d(np.arange(gallery.shape[0]), answers)
    free = max(MOST_ITEMS - answers.size, 0)
    if others.size > free:
        others = rng.choice(others, free, replace=False)
    items = np.sort(np.concatenate([answers, others]))
    ids = as_ids(gallery_ids, gallery.shape[0], "gallery_ids")
    bank_queries, bank_items = to_numpy(query_bank), to_numpy(gallery_bank)
    return Samples(
        gallery=to_numpy(gallery[items]),
        query_bank=bank_queries,
        gallery_bank=bank_items,
        queries=to_numpy(queries[query_index]),
        relevant=Relevant(
            np.searchsorted(query_index, relevant.query[drawn]),
            np.searchsorted(items, relevant.rows[drawn]),
            relevant.count[query_index],
        ),
        gallery_ids=None if ids is None else ids[items],
        query_bank_ids=as_ids(query_bank_ids, len(bank_queries), "query_bank_ids"),
        gallery_bank_ids=as_ids(gallery_bank_ids, len(bank_items), "gallery_bank_ids"),
        exclude=None if exclude is None else lookup(items, exclude[query_index]),
    )


def sample_banks(rng: np.random.Generator, samples: Samples) -> Samples:
    """The samples with `MOST_BANK_ROWS` rows of a larger bank, drawn by id.

    Both banks keep the same ids, so that their pairs stay together. The last id that is drawn may
    bring more rows. Banks without ids are drawn by row.
    """
    sides = {side: getattr(samples, side) for side in ("query_bank", "gallery_bank")}
    large = {side: len(bank) for side, bank in sides.items() if len(bank) > MOST_BANK_ROWS}
    if not large:
        return samples
    ids = {side: getattr(samples, f"{side}_ids") for side in large}
    ids = {side: np.arange(large[side]) if i is None else i for side, i in ids.items()}
    names = rng.permutation(np.unique(np.concatenate(list(ids.values()))))
    order = np.argsort(names)
    kept: dict[str, np.ndarray] = {}
    for side, of_side in ids.items():
        rank = order[np.searchsorted(names, of_side, sorter=order)]
        last = np.partition(rank, MOST_BANK_ROWS - 1)[MOST_BANK_ROWS - 1]
        kept[side] = np.flatnonzero(rank <= last)
    drawn = {side: sides[side][rows] for side, rows in kept.items()}
    for side, rows in kept.items():
        if getattr(samples, f"{side}_ids") is not None:
            drawn[f"{side}_ids"] = ids[side][rows]
    return replace(samples, **drawn)


def infer_ids(samples: Samples) -> Samples:
    """Ids for banks without any, from rows that banks and pairs have in common.

    A bank query that equals a query of a pair gets the id of that query's relevant item; a bank
    item that equals a gallery row gets its id. Without ids such rows would leak into the trial.
    Nothing is inferred for banks with ids, or if they have ids and the gallery has none.
    """
    ids = samples.gallery_ids
    if ids is None:
        if samples.query_bank_ids is not None or samples.gallery_bank_ids is not None:
            return samples
        groups = group_queries(samples.relevant, None)
        ids = len(groups) + np.arange(len(samples.gallery))
        ids[samples.relevant.rows] = groups[samples.relevant.query]
    first = np.full(len(samples.queries), -1)  # a relevant gallery row of each query
    first[samples.relevant.query] = samples.relevant.rows
    query_bank_ids, gallery_bank_ids = samples.query_bank_ids, samples.gallery_bank_ids
    if query_bank_ids is None:
        query_bank_ids = _ids_of_equal_rows(samples.query_bank, samples.queries, ids[first], 0)
    if gallery_bank_ids is None:
        gallery_bank_ids = _ids_of_equal_rows(samples.gallery_bank, samples.gallery, ids, 1)
    return replace(
        samples,
        gallery_ids=ids,
        query_bank_ids=query_bank_ids,
        gallery_bank_ids=gallery_bank_ids,
    )


def _ids_of_equal_rows(
    bank: np.ndarray, rows: np.ndarray, ids: np.ndarray, side: int
) -> np.ndarray:
    """(bank rows,) the id of an equal row, or an id that no other row has.

    Args:
        side: 0 for one bank and 1 for the other, whose new ids then differ.
    """
    bank, rows = (np.ascontiguousarray(x, dtype=np.float32) for x in (bank, rows))
    index_of = {row.tobytes(): i for i, row in enumerate(rows)}
    index = np.array([index_of.get(row.tobytes(), -1) for row in bank], np.int64)
    if ids.dtype.kind in "iu":
        others = ids.min() - 1 - 2 * np.arange(len(bank), dtype=np.int64) - side
    else:
        others = np.array([f"\x00 bank {side}, row {i}" for i in range(len(bank))]).astype(
            ids.dtype.kind
        )
    return np.where(index >= 0, ids[index], others)


def group_queries(relevant: Relevant, ids: np.ndarray | None) -> np.ndarray:
    """(m,) one number for all queries that share the id of a relevant item, also indirectly.

    Args:
        relevant: the relevant gallery rows of m queries.
        ids: (n,) ids of the gallery rows; without ids, each row is its own id.
    """
    if ids is None:
        codes = relevant.rows
    else:
        codes = np.unique(ids, return_inverse=True)[1][relevant.rows]
    queries = relevant.count.size
    nodes = queries + int(codes.max(initial=-1)) + 1
    return connected_components(relevant.query, queries + codes, nodes)[:queries]
