"""Evaluate the galleries of a release on test pairs, raw and corrected side by side.

The protocol is inductive: corrections were fitted on the pairs of the bank and chosen on the
validation pairs; the test pairs are neither. The gallery is searched without the items whose pairs
are in the bank: a correction knows their captions and not those of the test items, which would
place the test items lower than new items of a growing corpus are placed.
"""

from collections.abc import Mapping
from typing import Any

import lance
import numpy as np

from pipelines.banks.labelled_queries import Gallery, LabelledQueries, labelled_queries
from pipelines.gallery.read_back import read_compiled
from pipelines.release.known_items import KnownItems, read_known
from pipelines.release.languages import (
    LanguageQueries,
    TranslatedQueries,
    compare_languages,
    language_queries,
)
from pipelines.release.last_tallies import LastTallies
from pipelines.release.query_sets import K, QuerySet
from pipelines.release.rankings import Ranking, ranking
from pipelines.release.scan_gallery import Gallery as Stored
from pipelines.release.scan_gallery import Scan, opened, tally_gallery
from store import corrections
from store.corrections import Correction, Evaluation
from store.corrections.kernels.threads import one_blas_thread
from store.metrics import geometry, histograms
from store.metrics.retrieval import Relevant
from store.tables.banks import Banks
from store.tables.direction import Direction
from store.tables.table_version import TableVersion


@one_blas_thread()  # counting takes longer than the products, which would keep all cores waiting
def evaluate_directions(
    galleries: Mapping[str, Stored],
    banks: Banks,
    directions: dict[str, Direction],
    dim: int,
    translated: TranslatedQueries | None = None,
    address: str | None = None,
    last: LastTallies | None = None,
) -> dict[str, Any]:
    """Evaluate each direction on its test queries.

    Args:
        galleries: by modality.
        banks: the banks of the space.
        directions: by name.
        dim: of the space's vectors.
        translated: test texts in several languages (`read_translated`).
        address: of a Ray cluster, which large galleries are scanned on.
        last: the tallies of the last release; then `galleries` are versions of tables.

    Returns:
        JSON values by direction; directions within one modality only if they have test queries.
        Each has `protocol`, `method`, `params`, `reason`, `queries`, `gallery` (numbers of queries
        and of items that are searched) and `left_out` (items of the bank). With test queries it
        also has:

        - `raw`, `corrected`: the figures of `store.corrections.Evaluation`;
        - `intervals` of both (mean, low and high at 95%), `gains` (intervals of the paired
          differences) and `gain` (that of the reciprocal rank);
        - `k_occurrence` of both: how many items are in 0, 1, 2, ... of the top ten lists;
        - `similarities` of both (`store.metrics.histograms`);
        - `alignment`, `uniformity`, `modality_gap` (`store.metrics.geometry`);
        - `languages` (`compare_languages`), for text queries with translations.

        A release adds `inputs`, a hash of what the figures depend on, and `choice_kept_from`, the
        number of the release in which the correction was chosen, if it is an earlier one.
    """
    figures: dict[str, Any] = {}
    for modality, dataset in galleries.items():
        own = {name: d for name, d in directions.items() if d.gallery == modality}
        if not own:
            continue
        known = read_known(opened(dataset), banks, list(own.values()), dim)
        jobs = {name: _Job(known[name], banks, d, translated or {}) for name, d in own.items()}
        scan = Scan(
            [part for job in jobs.values() for s in job.sets for part in s.parts()],
            {name: job.known.in_bank for name, job in jobs.items()},
            dim,
        )
        if last is not None and isinstance(dataset, TableVersion):
            tallies = iter(last.tally(modality, dataset, scan, address))
        else:
            tallies = iter(tally_gallery(dataset, scan, address))
        for name, job in jobs.items():
            rankings = [ranking(s, [next(tallies) for _ in s.parts()]) for s in job.sets]
            figures[name] = job.figures(rankings)
    return {
        name: figures[name]
        for name, direction in directions.items()
        if figures[name]["queries"] or direction.query != direction.gallery
    }


class _Job:
    """The evaluation of one direction."""

    def __init__(
        self,
        known: KnownItems,
        banks: Banks,
        direction: Direction,
        translated: TranslatedQueries,
    ):
        self.direction = direction
        self.known = known
        self.queries = labelled_test_queries(banks, direction, self.known.gallery)
        self.languages: LanguageQueries | None = None
        self.sets: list[QuerySet] = []
        if not self.queries.answered:
            return
        relevant = Relevant.of(self.queries.answers)
        self._add(self.queries.vectors, relevant, self.queries.own_rows)
        if direction.query == "text" and direction.gallery != "text":
            answers = dict(zip(self.queries.parts.tolist(), self.queries.answers, strict=True))
            self.languages = language_queries(translated, answers)
        if self.languages is not None:
            relevant = Relevant.of(self.languages.answers)
            self._add(self.languages.vectors, relevant, np.full(len(relevant.count), -1))

    def _add(self, vectors: np.ndarray, relevant: Relevant, own_rows: np.ndarray) -> None:
        self.sets.append(self.known.query_set(self.direction, vectors, relevant, own_rows))

    def figures(self, rankings: list[dict[str, Ranking]]) -> dict[str, Any]:
        """The figures of the direction, from the rankings of its sets."""
        direction, known, queries = self.direction, self.known, self.queries
        figures: dict[str, Any] = {
            "protocol": corrections.INDUCTIVE,
            "method": direction.method,
            "params": direction.params,
            "reason": direction.reason,
            "queries": queries.answered,
            "gallery": known.searched,
            "left_out": known.left_out,
        }
        if not queries.answered:
            return figures
        first, *others = rankings
        before = first["raw"].evaluation(known, queries.clusters)
        after = before
        if direction.method != "none":
            after = first["corrected"].evaluation(known, queries.clusters)
        figures |= side_by_side(before, after)
        vectors = known.gallery.vectors
        partners = vectors[[answer[0] for answer in queries.answers]]
        figures["alignment"] = geometry.alignment(queries.vectors, partners)
        figures["uniformity"] = geometry.uniformity(vectors[known.is_random])
        figures["modality_gap"] = geometry.modality_gap(queries.vectors, partners)
        if self.languages is not None:
            (ranks,) = others
            figures["languages"] = compare_languages(
                self.languages,
                {"raw": ranks["raw"].first, "corrected": ranks["corrected"].first},
                known.searched,
            )
        return figures


def read_unseen(
    dataset: lance.LanceDataset, banks: Banks, direction: Direction, dim: int
) -> tuple[Gallery, Correction, int]:
    """A gallery and its correction (`read_compiled`) without the items whose clusters are in the
    bank, and the number of these items."""
    gallery, compiled = read_compiled(dataset, direction, dim)
    in_bank = np.concatenate(
        [banks.items(direction.gallery).clusters, banks.queries(direction.query).clusters]
    )
    unseen = gallery.without(in_bank)
    correction = Correction(
        compiled.method,
        compiled.params,
        compiled.vectors[unseen],
        compiled.bias[unseen],
        None if compiled.flag is None else compiled.flag[unseen],
    )
    return gallery.take(unseen), correction, int((~unseen).sum())


def labelled_test_queries(banks: Banks, direction: Direction, gallery: Gallery) -> LabelledQueries:
    """The test queries of one direction that have right answers in its gallery."""
    queries = labelled_queries(banks, "test", direction.query, direction.gallery, gallery)
    return queries.with_answers()


def measure(
    correction: Correction, queries: LabelledQueries, protocol: str | None = None
) -> Evaluation:
    """Evaluate a correction that is fitted to a gallery on a direction's test queries."""
    return corrections.evaluate(
        correction,
        queries.vectors,
        queries.answers,
        k=K,
        exclude=queries.own_rows,
        groups=queries.clusters,
        protocol=protocol,
    )


def side_by_side(raw: Evaluation, corrected: Evaluation) -> dict[str, Any]:
    """Compare two evaluations of the same queries, as JSON values (see `evaluate_directions`)."""
    sides = {"raw": raw, "corrected": corrected}
    compared = {
        kind: {name: interval._asdict() for name, interval in intervals.items()}
        for kind, intervals in corrected.compared(raw).items()
    }
    gains = compared["gains"]
    return {
        **{side: evaluation.figures() for side, evaluation in sides.items()},
        "intervals": {"raw": compared["before"], "corrected": compared["after"]},
        "gains": gains,
        "gain": gains["mrr"],
        "k_occurrence": {side: np.bincount(e.counts).tolist() for side, e in sides.items()},
        "similarities": {side: histograms(e.matching, e.unrelated) for side, e in sides.items()},
    }


def harmed_directions(figures: dict[str, Any]) -> list[str]:
    """The directions whose gain on test pairs is negative with its whole interval."""
    return [name for name, f in figures.items() if "gain" in f and f["gain"]["high"] < 0]
