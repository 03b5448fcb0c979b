"""Learn, for a release, how queries of each modality join the scores of a sample's parts.

A part of a held-out sample asks for the sample by the sample's other parts. Candidates are the
samples of the best items of each gallery. Parts of the query's own modality are left out: the right
sample has none beside the query itself. So no pair says what they are worth, and they get the mean
of the other weights. Weights of other parts than the best one are taken only if they are certainly
better on pairs that they were not fitted on. Pairs of the validation split are used, of every other
cluster: the others are left for the comparison of systems (`pipelines.release.systems`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.release.fit_part_weights import FOLDS, fit_part_weights, held_out_ranks
from store.arrays import lookup
from store.arrow import as_matrix
from store.corrections.crossfit import assign_folds
from store.corrections.decision import lower_end
from store.corrections.kernels.threads import one_blas_thread
from store.corrections.select import LEAST_PAIRS
from store.identity import uniform_number
from store.search.column_plan import ColumnPlan, WeightedInput, plan_columns
from store.search.corrected_search import search_many
from store.search.open_gallery import OpenGallery
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.indexes import GalleryIndex
from store.tables.lance_tables import one_of
from store.tables.part_weights import PartWeights
from store.tables.schema import MODALITIES

SPLIT = "validation"
_QUERIES = 256  # of a modality
_CANDIDATES = 32  # of each gallery
_SCANNED = 200_000  # rows of a gallery: a scan for all queries together costs less than an index


def is_fitted_on(cluster: str) -> bool:
    """Whether the weights are fitted on the validation pairs of a cluster."""
    # The name differs from that of the draw of splits, whose numbers of a split lie together.
    return uniform_number(f"{cluster} part weights", 0) < 0.5


class _Queries(NamedTuple):
    """The queries: unit vectors (q, d), clusters (q,) and ids (q,) of the right samples."""

    vectors: np.ndarray
    clusters: np.ndarray
    samples: np.ndarray


@one_blas_thread()  # hundreds of tiny products, for which threads cost more than they save
def learn_part_weights(
    galleries: Mapping[str, lance.LanceDataset],
    banks: Banks,
    directions: Mapping[str, Direction],
    indexes: Mapping[str, GalleryIndex],
) -> dict[str, PartWeights]:
    """The weights by modality of the queries, without those that have too few pairs.

    Args:
        galleries: by modality.
        banks: of the space.
        directions: by name.
        indexes: of the galleries, by modality.
    """
    opened = {
        m: OpenGallery(
            g, m, indexes[m] if m in indexes and g.count_rows() > _SCANNED else GalleryIndex()
        )
        for m, g in galleries.items()
    }
    learned = {}
    for query in MODALITIES:
        others = {m: g for m, g in opened.items() if m != query and f"{query}->{m}" in directions}
        queries = _queries(banks, query)
        if not others or len(queries.samples) < LEAST_PAIRS:
            continue
        scores = _scores(others, queries, query, directions)
        is_answered = ~np.isnan(scores[:, 0]).all(axis=1)
        if is_answered.sum() >= LEAST_PAIRS:
            clusters = queries.clusters[is_answered]
            has_own = query in galleries
            learned[query] = _weights(query, list(others), scores[is_answered], clusters, has_own)
    return learned


def _weights(
    query: str, parts: list[str], scores: np.ndarray, clusters: np.ndarray, has_own: bool
) -> PartWeights:
    """The weights of queries of one modality: the best part alone, unless others surely gain.

    Args:
        query: the modality of the queries.
        parts: the p modalities of the parts.
        scores: (q, c, p) calibrated scores (see `fit_part_weights`).
        clusters: (q,) of the queries.
        has_own: whether samples have parts of the queries' modality too.
    """
    folds = assign_folds(clusters, FOLDS, np.random.default_rng(0))
    best, learned = held_out_ranks(scores, folds)
    gain = float((learned - best).mean())
    figures = f"{gain:+.4f} in mean reciprocal rank on {len(scores)} held-out pairs"
    if lower_end(learned - best, clusters) <= 0:
        zeros = dict.fromkeys([*parts, query] if has_own else parts, 0.0)
        reason = f"the best part alone: other weights are not certainly better ({figures})"
        return PartWeights(1.0, zeros, zeros, len(scores), reason)
    fitted = fit_part_weights(scores)
    weights = dict(zip(parts, fitted.weights.tolist(), strict=True))
    offsets = dict(zip(parts, fitted.offsets.tolist(), strict=True))
    if has_own:
        weights[query] = float(fitted.weights.mean())
        lowered = float(fitted.weights @ fitted.offsets) / len(parts)
        offsets[query] = lowered / weights[query] if weights[query] else 0.0
    return PartWeights(fitted.best, weights, offsets, len(scores), f"learned: {figures}")


def _queries(banks: Banks, query: str) -> _Queries:
    """The validation parts of a modality that the weights are fitted on."""
    bank = banks.pair_queries(SPLIT, query)
    rows = banks.select(["part_id", "sample_id"], split=SPLIT, modality=query).to_pylist()
    sample_of = {row["part_id"]: row["sample_id"] for row in rows}
    chosen = [
        n
        for n, (part, cluster) in enumerate(zip(bank.parts, bank.clusters, strict=True))
        if part in sample_of and is_fitted_on(cluster)
    ][:_QUERIES]
    samples = np.array([sample_of[bank.parts[n]] for n in chosen], dtype=str)
    return _Queries(bank.vectors[chosen], bank.clusters[chosen], samples)


def _scores(
    galleries: Mapping[str, OpenGallery],
    queries: _Queries,
    query: str,
    directions: Mapping[str, Direction],
) -> np.ndarray:
    """The calibrated scores (q, c, p) of candidates, the right one first; NaN where there is no
    part, no candidate, or one of the query's own cluster."""
    batch = [[WeightedInput(query, vector, 1.0)] for vector in queries.vectors]
    own = {modality: directions[f"{query}->{modality}"] for modality in galleries}
    compiled = {m: {query: d} if d.method != "none" else {} for m, d in own.items()}
    listed: list[set[str]] = [set() for _ in batch]
    for modality, gallery in galleries.items():
        lists = search_many(gallery, batch, compiled[modality], ["id"], None, _CANDIDATES)
        for ids, ranked in zip(listed, lists, strict=True):
            ids |= set(ranked.rows["id"].to_pylist())
    candidates = [
        np.array([right, *sorted(ids - {right})], dtype=str)
        for right, ids in zip(queries.samples.tolist(), listed, strict=True)
    ]
    samples = np.unique(np.concatenate(candidates))
    numbers = np.full((len(candidates), max(map(len, candidates))), len(samples))
    for row, candidate in enumerate(candidates):
        numbers[row, : len(candidate)] = lookup(samples, candidate)
    scores = np.full((*numbers.shape, len(galleries)), np.nan)
    for place, (modality, gallery) in enumerate(galleries.items()):
        rows = _read(gallery, samples, [query] if compiled[modality] else [])
        owners = lookup(samples, np.array(rows["id"].to_pylist(), dtype=str))
        clusters = np.array(rows["cluster"].to_pylist(), dtype=str)
        zero, unit = own[modality].zero, own[modality].unit
        plans = plan_columns(gallery, batch, compiled[modality], None)
        for number, total in enumerate(_totals(plans, rows)):
            is_mate = clusters == queries.clusters[number]
            is_mate &= samples[owners] != queries.samples[number]
            by_sample = np.full(len(samples) + 1, np.nan)  # the last one: no candidate
            by_sample[owners] = np.where(is_mate, np.nan, (total - zero) / unit)
            scores[number, :, place] = by_sample[numbers[number]]
    return scores


def _totals(plans: Sequence[ColumnPlan], rows: pa.Table) -> np.ndarray:
    """The scores (q, n) of n rows by the plans of q queries; each column is multiplied once."""
    totals = np.zeros((len(plans), rows.num_rows), np.float32)
    searches = [(number, query) for number, plan in enumerate(plans) for query in plan.queries]
    for column in {query.column for _, query in searches}:
        own = [(number, query) for number, query in searches if query.column == column]
        vectors = np.stack([query.vector for _, query in own])
        offsets = np.array([query.offset for _, query in own], np.float32)
        products = vectors @ as_matrix(rows[column]).T + offsets[:, None]
        np.add.at(totals, [number for number, _ in own], products)
    return totals


def _read(gallery: OpenGallery, samples: np.ndarray, moved: list[str]) -> pa.Table:
    """The items of samples, with the vector columns that queries can be compared with."""
    columns = ["id", "cluster", "vector"]
    columns += [c for c in gallery.table.schema.names if c in {f"vector_{m}" for m in moved}]
    return gallery.table.to_table(columns=columns, filter=one_of("id", samples.tolist()))
