"""Chooses how an index is probed: the fastest setting whose recall reaches the bound.

A setting is chosen on one half of the queries and measured on the other half. The first half must
exceed the bound a little, so that other queries reach it as a rule. The number of probes is doubled
until they do, with many rows ranked anew and with few (`pipelines.index.candidates`: one search
tells the recall for all numbers of rows). Then as few rows are ranked anew as reach it, the fastest
of these settings is taken, and its probes are narrowed by bisection. If it misses the bound on the
other half, wider ones are measured. The settings of a gallery that has hardly changed are kept if
they still reach the bound on some of the queries.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from math import ceil
from statistics import median

import numpy as np

from pipelines.index.candidates import Candidates
from pipelines.index.exact_scores import BestRows, best_rows
from store.search.column_query import ColumnQuery
from store.search.open_gallery import OpenGallery
from store.tables.indexes import GalleryIndex, Probe

_REFINES = (2, 3, 4, 8, 16, 64)
_FIRST_PROBES = 8
_FAST_PROBES = 64  # fewer take hardly less time
_MOST_REFINED = 8_000  # rows that are ranked anew
_USUAL_REFINE = 8
_CANDIDATES = 2  # numbers of rows ranked anew that are compared by time
_TIMED = 3  # queries that they are timed on
_BISECTIONS = 2  # to within an eighth of the probes
_MARGIN = 0.25  # of the recall that may be missed
_STEPS = ((1, 1), (1, 2), (1.25, 1), (1.25, 2), (1.5, 2))  # of probes and of rows ranked anew
_ROUNDING = 1e-5  # scores of a scan and of an index differ in their last digits


def choose_probe(
    gallery: OpenGallery,
    column: str,
    queries: np.ndarray,
    best: BestRows,
    depth: int,
    bound: float,
    last: Probe | None = None,
) -> Probe | None:
    """Choose how the index of a column is probed.

    Args:
        gallery: with its index.
        column: that is searched.
        queries: (m, width), at least 2.
        best: the exact best rows of each query.
        depth: recall@depth is measured.
        bound: the smallest recall.
        last: the setting before the gallery changed.

    Returns:
        The setting with its recall and time. None: no setting reaches the bound.
    """
    half = len(queries) // 2
    others = queries[half:], best.some(slice(half, None))
    timed = queries[:_TIMED], best.scores[:_TIMED, :depth]

    def verified(setting: Probe) -> Probe | None:
        """The setting with its recall on the other half, if that reaches the bound."""
        found = Candidates(gallery, column, *others, depth, [setting.refine])
        recall = found.recalls(setting.nprobes, bound)[setting.refine]
        if recall < bound:
            return None
        return replace(measure(gallery, column, *timed, setting), recall=recall)

    if last is not None and (kept := verified(last)):
        return kept
    aim = bound + _MARGIN * (1 - bound)
    refines = [refine for refine in _REFINES if refine * depth <= _MOST_REFINED]
    chosen = Candidates(gallery, column, queries[:half], best.some(slice(half)), depth, refines)

    @cache
    def reaching(nprobes: int) -> list[int]:
        """The numbers of rows ranked anew that reach the aim."""
        return [r for r, recall in chosen.recalls(nprobes, aim).items() if recall >= aim]

    # As few probes as possible may need many rows ranked anew, which takes longer than more probes.
    few = min(refines[-1], _USUAL_REFINE)
    tried: dict[int, list[int]] = {}
    for width in _widths(gallery.index.partitions):
        if enough := reaching(width):
            tried[width] = enough
            if enough[0] <= few:
                break
    settings = [
        Probe(depth, width, refine, 0, 0)
        for width in dict.fromkeys((min(tried), max(tried)) if tried else ())
        for refine in tried[width][: _CANDIDATES if width > _FAST_PROBES else 1]
    ]
    if not settings:
        return None
    fast = settings[0]
    if len(settings) > 1:
        fast = min(
            (measure(gallery, column, *timed, setting) for setting in settings),
            key=lambda probe: probe.milliseconds,
        )
    if fast.nprobes > _FAST_PROBES:
        fast = _narrowed(reaching, fast)
    wider = _wider(fast, gallery.index.partitions, refines[-1])
    return next((probe for probe in map(verified, wider) if probe), None)


def keep_probes(
    gallery: OpenGallery, column: str, queries: np.ndarray, last: Sequence[Probe], bound: float
) -> list[Probe] | None:
    """Measure the settings of a gallery that has hardly changed.

    Args:
        queries: (m, width); fewer of them for deeper results (`best_rows`).
        last: the settings, by depth.

    Returns:
        The settings with their recall now. None: one does not reach the bound any more.
    """
    if not last:
        return []
    best = best_rows(gallery.table, column, queries, [probe.depth for probe in last])
    kept = []
    for probe in last:
        scores = best[probe.depth].scores[:, : probe.depth]
        now = measure(gallery, column, queries[: len(scores)], scores, probe, bound)
        if now.recall < bound:
            return None
        kept.append(now)
    return kept


def measure(
    gallery: OpenGallery,
    column: str,
    queries: np.ndarray,
    best: np.ndarray,
    probe: Probe,
    aim: float = 0.0,
) -> Probe:
    """The setting with its recall on queries, and the median time of a search.

    A row counts if its score is at least the lowest exact score, so that ties do no harm. Once the
    recall cannot reach `aim` any more, whatever the other queries give, they are left out, and the
    recall is the largest that was possible.
    """
    index = replace(gallery.index, probes={"measured": (probe,)})
    measured = replace(gallery, index=index)
    seconds, recall = [], 1.0
    for query, exact in zip(queries, best, strict=True):
        started = time.perf_counter()
        searched = ColumnQuery(column, query, 0.0, ("measured",))
        rows = measured.fetch(searched, probe.depth, [], None).rows
        seconds.append(time.perf_counter() - started)
        scores = rows["_column_score"].to_numpy()
        share = min(1.0, (scores >= exact[-1] - _ROUNDING).sum() / len(exact))
        recall -= (1.0 - share) / len(queries)
        if recall < aim:
            break
    return replace(probe, recall=float(recall), milliseconds=1000 * median(seconds))


def scan_milliseconds(gallery: OpenGallery, column: str, queries: np.ndarray) -> float:
    """The median time of an exact search for ten rows."""
    scanned = replace(gallery, index=GalleryIndex())
    seconds = []
    for query in queries:
        started = time.perf_counter()
        scanned.fetch(ColumnQuery(column, query, 0.0), 10, [], None)
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds)


def _narrowed(reaching: Callable[[int], list[int]], probe: Probe) -> Probe:
    """The setting with as few probes as reach the aim. Half of them may not."""
    low, high = probe.nprobes // 2, probe.nprobes
    for _ in range(_BISECTIONS):
        middle = (low + high) // 2
        if probe.refine in reaching(middle):
            high = middle
        else:
            low = middle
    return replace(probe, nprobes=high)


def _wider(probe: Probe, partitions: int, most: int) -> Iterator[Probe]:
    """The setting, then settings that find more, up to all partitions and the largest `refine`."""
    for probes, refines in _STEPS:
        nprobes = min(ceil(probes * probe.nprobes), partitions)
        yield replace(probe, nprobes=nprobes, refine=min(refines * probe.refine, most))
    for nprobes in [probe.nprobes, *_widths(partitions, 2 * probe.nprobes)]:
        yield replace(probe, refine=most, nprobes=nprobes)


def _widths(partitions: int, first: int = _FIRST_PROBES) -> Iterator[int]:
    """Numbers of partitions to probe, doubled up to all of them."""
    width = first
    while width < partitions:
        yield width
        width *= 2
    yield partitions
