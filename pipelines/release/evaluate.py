"""Evaluate the galleries of a release on test pairs, raw and corrected side by side.

The protocol is inductive: corrections were fitted on the pairs of the bank and chosen on the
validation pairs; the test pairs are neither. The gallery is searched without the items whose pairs
are in the bank: a correction knows their captions and not those of the test items, which would
place the test items lower than new items of a growing corpus are placed.
"""

from typing import Any

import lance
import numpy as np

from pipelines.banks.labelled_queries import Gallery, LabelledQueries, labelled_queries
from pipelines.gallery.read_back import read_compiled
from pipelines.release.languages import TranslatedQueries, compare_languages
from store import corrections
from store.corrections import Correction, Evaluation
from store.metrics import geometry, histograms
from store.tables.banks import Banks
from store.tables.releases import Direction

K = 10  # length of the result lists that k-occurrence is counted in


def evaluate_directions(
    galleries: dict[str, lance.LanceDataset],
    banks: Banks,
    directions: dict[str, Direction],
    dim: int,
    translated: TranslatedQueries | None = None,
) -> dict[str, Any]:
    """Evaluate each direction on its test queries.

    Args:
        galleries: by modality.
        banks: the banks of the space.
        directions: by name.
        dim: of the space's vectors.
        translated: test texts in several languages (`read_translated`).

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
    """
    figures = {
        name: _evaluate(galleries[direction.gallery], banks, direction, dim, translated or {})
        for name, direction in directions.items()
    }
    return {
        name: f
        for name, f in figures.items()
        if f["queries"] or directions[name].query != directions[name].gallery
    }


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
    gains = {name: gain._asdict() for name, gain in corrected.gains(raw).items()}
    return {
        **{side: evaluation.figures() for side, evaluation in sides.items()},
        "intervals": {
            side: {name: interval._asdict() for name, interval in evaluation.intervals().items()}
            for side, evaluation in sides.items()
        },
        "gains": gains,
        "gain": gains["mrr"],
        "k_occurrence": {side: np.bincount(e.counts).tolist() for side, e in sides.items()},
        "similarities": {side: histograms(e.matching, e.unrelated) for side, e in sides.items()},
    }


def _evaluate(
    dataset: lance.LanceDataset,
    banks: Banks,
    direction: Direction,
    dim: int,
    translated: TranslatedQueries,
) -> dict[str, Any]:
    gallery, compiled, left_out = read_unseen(dataset, banks, direction, dim)
    queries = labelled_test_queries(banks, direction, gallery)
    figures: dict[str, Any] = {
        "protocol": corrections.INDUCTIVE,
        "method": direction.method,
        "params": direction.params,
        "reason": direction.reason,
        "queries": queries.answered,
        "gallery": len(gallery.parts),
        "left_out": left_out,
    }
    if not queries.answered:
        return figures
    raw = Correction("none", {}, gallery.vectors, np.zeros(len(gallery.parts), np.float32))
    before = measure(raw, queries)
    after = before if direction.method == "none" else measure(compiled, queries)
    figures |= side_by_side(before, after)
    partners = gallery.vectors[[answer[0] for answer in queries.answers]]
    figures["alignment"] = geometry.alignment(queries.vectors, partners)
    figures["uniformity"] = geometry.uniformity(gallery.vectors)
    figures["modality_gap"] = geometry.modality_gap(queries.vectors, partners)
    if direction.query == "text" and direction.gallery != "text":
        answers = dict(zip(queries.parts.tolist(), queries.answers, strict=True))
        sides = {"raw": raw, "corrected": compiled}
        if languages := compare_languages(translated, answers, sides):
            figures["languages"] = languages
    return figures


def harmed_directions(figures: dict[str, Any]) -> list[str]:
    """The directions whose gain on test pairs is negative with its whole interval."""
    return [name for name, f in figures.items() if "gain" in f and f["gain"]["high"] < 0]
