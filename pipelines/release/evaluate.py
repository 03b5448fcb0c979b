"""The figures of a release: raw and corrected side by side, on test pairs that nothing has seen.

Inductive: the bank's pairs fitted the correction, the validation pairs chose it, the test pairs
are neither. The whole gallery is searched.
"""

from typing import Any

import lance
import numpy as np

from pipelines.banks.labelled_queries import Gallery, Questions, questions
from pipelines.gallery.read_back import read_compiled
from pipelines.release.languages import TranslatedQueries, compare_languages
from store import corrections
from store.corrections import Correction, Evaluation
from store.metrics import geometry, histograms
from store.tables.banks import Banks
from store.tables.releases import Direction

K = 10  # of the k-occurrence


def evaluate(
    galleries: dict[str, lance.LanceDataset],
    banks: Banks,
    directions: dict[str, Direction],
    dim: int,
    spoken: TranslatedQueries | None = None,
) -> dict[str, Any]:
    """Figures by direction, as JSON values; within one modality only where there are test pairs.

    Per direction: `protocol`, `queries`, `gallery`, and where there are test queries, `raw` and
    `corrected` (the figures of `store.corrections.Evaluation`), `intervals` of both (mean, low and
    high at 95%), `gains` (those of the paired differences), `gain` (that of the reciprocal rank),
    `k_occurrence` (how many gallery items stand in 0, 1, 2 ... of the queries' top ten) and
    `similarities` (`store.metrics.histograms`) of both, `alignment`, `uniformity`, `modality_gap`,
    and of text queries that are `spoken` in several languages, `languages` (`compare_languages`).
    """
    figures = {
        name: _direction(galleries[direction.gallery], banks, direction, dim, spoken or {})
        for name, direction in directions.items()
    }
    return {
        name: found
        for name, found in figures.items()
        if found["queries"] or directions[name].query != directions[name].gallery
    }


def test_questions(banks: Banks, direction: Direction, gallery: Gallery) -> Questions:
    """The test queries of one direction that have right answers in its gallery."""
    asked = questions(banks, "test", direction.query, direction.gallery, gallery)
    return asked.with_answers()


def measure(ranking: Correction, asked: Questions, protocol: str | None = None) -> Evaluation:
    """One ranking of the gallery, on a direction's test queries."""
    return corrections.evaluate(
        ranking,
        asked.vectors,
        asked.answers,
        k=K,
        exclude=asked.own,
        groups=asked.clusters,
        protocol=protocol,
    )


def side_by_side(raw: Evaluation, corrected: Evaluation) -> dict[str, Any]:
    """What two rankings for the same queries have to say, as JSON values; see `evaluate`."""
    sides = {"raw": raw, "corrected": corrected}
    gains = {name: gain._asdict() for name, gain in corrected.gains(raw).items()}
    return {
        **{side: found.figures() for side, found in sides.items()},
        "intervals": {
            side: {name: interval._asdict() for name, interval in found.intervals().items()}
            for side, found in sides.items()
        },
        "gains": gains,
        "gain": gains["mrr"],
        "k_occurrence": {side: np.bincount(f.counts).tolist() for side, f in sides.items()},
        "similarities": {side: histograms(f.matching, f.unrelated) for side, f in sides.items()},
    }


def _direction(
    dataset: lance.LanceDataset,
    banks: Banks,
    direction: Direction,
    dim: int,
    spoken: TranslatedQueries,
) -> dict[str, Any]:
    gallery, compiled = read_compiled(dataset, direction, dim)
    asked = test_questions(banks, direction, gallery)
    figures: dict[str, Any] = {
        "protocol": corrections.INDUCTIVE,
        "method": direction.method,
        "params": direction.params,
        "reason": direction.reason,
        "queries": asked.answered,
        "gallery": len(gallery.parts),
    }
    if not asked.answered:
        return figures
    raw = Correction("none", {}, gallery.vectors, np.zeros(len(gallery.parts), np.float32))
    before = measure(raw, asked)
    after = before if direction.method == "none" else measure(compiled, asked)
    figures |= side_by_side(before, after)
    partners = gallery.vectors[[answer[0] for answer in asked.answers]]
    figures["alignment"] = geometry.alignment(asked.vectors, partners)
    figures["uniformity"] = geometry.uniformity(gallery.vectors)
    figures["modality_gap"] = geometry.modality_gap(asked.vectors, partners)
    if direction.query == "text" and direction.gallery != "text":
        answers = dict(zip(asked.parts.tolist(), asked.answers, strict=True))
        told = compare_languages(spoken, answers, {"raw": raw, "corrected": compiled})
        figures |= {"languages": told} if told else {}
    return figures


def harmed(figures: dict[str, Any]) -> list[str]:
    """Directions in which the whole interval of the gain on test pairs lies below zero."""
    return [name for name, f in figures.items() if "gain" in f and f["gain"]["high"] < 0]
