"""The figures of a release: raw and corrected side by side, on test pairs that nothing has seen.

Inductive: the bank's pairs fitted the correction, the validation pairs chose it, the test pairs
are neither. The whole gallery is searched.
"""

from typing import Any

import lance
import numpy as np

from pipelines.bank_rows import Banks
from pipelines.compiled import read_compiled
from pipelines.questions import questions
from store import corrections
from store.corrections import Correction
from store.metrics import geometry, intervals
from store.releases import Direction

K = 10  # of the k-occurrence


def evaluate(
    galleries: dict[str, lance.LanceDataset],
    banks: Banks,
    directions: dict[str, Direction],
    dim: int,
) -> dict[str, Any]:
    """Figures by direction, as JSON values.

    Per direction: `queries`, `gallery`, and where there are test queries, `raw` and `corrected`
    (the figures of `store.corrections.Evaluation`), `gain` (mean, low and high of the paired
    difference of reciprocal ranks), `k_occurrence` (how many gallery items stand in 0, 1, 2 ... of
    the queries' top ten), `alignment`, `uniformity` and `modality_gap`.
    """
    return {
        name: _direction(galleries[direction.gallery], banks, direction, dim)
        for name, direction in directions.items()
    }


def _direction(
    dataset: lance.LanceDataset, banks: Banks, direction: Direction, dim: int
) -> dict[str, Any]:
    gallery, compiled = read_compiled(dataset, direction, dim)
    raw = Correction("none", {}, gallery.vectors, np.zeros(len(gallery.parts), np.float32))
    test = questions(banks, "test", direction.query, direction.gallery, gallery)
    answers = test.answers
    asked = [i for i, answer in enumerate(answers) if answer]
    figures: dict[str, Any] = {
        "method": direction.method,
        "params": direction.params,
        "reason": direction.reason,
        "queries": len(asked),
        "gallery": len(gallery.parts),
    }
    if not asked:
        return figures
    queries, clusters = test.vectors[asked], test.clusters[asked]
    relevant = [answers[i] for i in asked]
    reciprocal = {}
    for side, ranking in (("raw", raw), ("corrected", compiled)):
        found = corrections.evaluate(ranking, queries, relevant, k=K, exclude=test.own[asked])
        reciprocal[side] = found.reciprocal_ranks
        figures[side] = found.figures()
        figures.setdefault("k_occurrence", {})[side] = np.bincount(found.counts).tolist()
    gain = intervals.paired_bootstrap(reciprocal["corrected"], reciprocal["raw"], groups=clusters)
    figures["gain"] = gain._asdict()
    partners = gallery.vectors[[answers[i][0] for i in asked]]
    figures["alignment"] = geometry.alignment(queries, partners)
    figures["uniformity"] = geometry.uniformity(gallery.vectors)
    figures["modality_gap"] = geometry.modality_gap(queries, partners)
    return figures


def harmed(figures: dict[str, Any]) -> list[str]:
    """Directions in which the whole interval of the gain on test pairs lies below zero."""
    return [name for name, f in figures.items() if "gain" in f and f["gain"]["high"] < 0]
