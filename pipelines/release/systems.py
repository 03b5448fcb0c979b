"""Compare retrieval systems with corrected search by one vector, on held-out pairs.

Every sample asks for its own part by another part, or by two other parts together. A system is
adopted for a direction if the interval of its gain in reciprocal rank lies above 0 on pairs of the
validation split. It is a 95% interval for all comparisons of a release together (Bonferroni), since
of twenty useless systems one would gain by chance. Pairs of the test split, which decide nothing,
show what a system is worth.

Samples as a level (`aggregate`) are asked for by the id of a part, which then does not answer
itself. Learned weights are judged on the validation pairs that they were not fitted on. Pairs
cannot judge systems in which a sample's own part answers its own query: captions (`hybrid`), and
searches within a modality (`route`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from pipelines.release.part_weights import is_fitted_on
from pipelines.release.query_samples import (
    SAMPLE,
    QuerySamples,
    draw_query_samples,
    intervals,
    ranks_of,
    reciprocal,
    stored_vectors,
)
from store.search.opened import OpenRelease
from store.search.query import Query

SAMPLES, DEPTH = 100, 100
System = Callable[[Query], Query]
Figures = dict[str, Any]

ONE_INPUT: dict[str, System] = {
    "raw": lambda query: query.correct("none"),
    "expand": lambda query: query.expand(),
}
# Where the release has token vectors of both modalities. They are those of the stored parts.
LATE: dict[str, System] = {"late": lambda query: query.late()}
# Where the release has moments of the gallery.
MOMENTS: dict[str, System] = {"moments": lambda query: query.moments()}
# Of samples. Where the release has learned weights for the modality, they are compared too.
SAMPLES_BY_PARTS: dict[str, System] = {
    "raw": lambda query: query.correct("none"),
    "softmax": lambda query: query.aggregate("softmax"),
}
LEARNED: dict[str, System] = {"learned": lambda query: query.aggregate("learned")}
TWO_INPUTS: dict[str, System] = {
    "raw": lambda query: query.correct("none"),
    "volume": lambda query: query.combine("volume"),
    "product": lambda query: query.combine("product"),
}


def compare_systems(
    opened: OpenRelease,
    samples: int = SAMPLES,
    steps: Callable[[list[str]], Iterator[str]] = iter,
) -> Figures:
    """Compare the systems in every direction of a release.

    Args:
        opened: the release. Nothing is encoded, and nothing written to its query log.
        samples: the largest number of samples of each split.
        steps: passes on the names of the directions, to show progress.

    Returns:
        JSON values by direction, such as "text->image" or "image + text->audio": `queries` (of
        the test split), `corrected` (reciprocal rank on the test split), and `systems`, of each
        `mrr`, the gains `validation` and `test`, `adopted`, and `milliseconds` a query. Intervals
        have `mean`, `low` and `high`.

    Raises:
        NotFoundError: the release has no validation or test samples.
    """
    quiet = OpenRelease(opened.tables, opened.encoders, number=opened.release.number)
    drawn = {split: draw_query_samples(quiet, samples, split) for split in ("validation", "test")}
    vectors = {split: stored_vectors(quiet, own, split) for split, own in drawn.items()}
    directions = {
        f"{' + '.join(inputs)}->{gallery}": (inputs, gallery)
        for inputs, gallery in _directions(quiet, drawn)
    }
    systems = {name: _systems(quiet, *each) for name, each in directions.items()}
    comparisons = sum(map(len, systems.values()))
    levels = {"validation": 1 - 0.05 / comparisons, "test": 0.95}
    figures = {}
    for name in steps(list(directions)):
        inputs, gallery = directions[name]
        query_rows = {split: _query_rows(split, own, gallery) for split, own in drawn.items()}
        validation, test = (
            _measure(
                quiet,
                drawn[split].take(rows),
                {m: vectors[split][m][rows] for m in inputs},
                gallery,
                systems[name],
                levels[split],
            )
            for split, rows in query_rows.items()
        )
        figures[name] = _direction(validation, test, systems[name])
    return figures


def _query_rows(split: str, drawn: QuerySamples, gallery: str) -> np.ndarray:
    """The numbers of the samples of a split that ask in a gallery, or for samples."""
    if gallery != SAMPLE or split == "test":
        return np.arange(len(drawn.ids))
    return np.flatnonzero([not is_fitted_on(cluster) for cluster in drawn.clusters])


def _systems(opened: OpenRelease, inputs: tuple[str, ...], gallery: str) -> Mapping[str, System]:
    if gallery == SAMPLE:
        learned = opened.release.part_weights or {}
        return SAMPLES_BY_PARTS | (LEARNED if inputs[0] in learned else {})
    moments = {} if opened.open_moments(gallery) is None else MOMENTS
    if len(inputs) > 1:
        return TWO_INPUTS | moments
    has_tokens = all(opened.tokens(m) is not None for m in (*inputs, gallery))
    return ONE_INPUT | (LATE if has_tokens else {}) | moments


def _directions(
    opened: OpenRelease, drawn: Mapping[str, QuerySamples]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Inputs and gallery of each direction that both splits have samples of."""
    for gallery in opened.release.modalities:
        others = [m for m in drawn["test"].modalities if m != gallery]
        for inputs in (*combinations(others, 1), *combinations(others, 2)):
            if all(len(own.having(*inputs, gallery)) for own in drawn.values()):
                yield inputs, gallery
    several = opened.release.modalities if len(opened.release.modalities) > 1 else []
    for modality in several:
        query_rows = (
            own.take(_query_rows(s, own, SAMPLE)).having(modality) for s, own in drawn.items()
        )
        if all(map(len, query_rows)):
            yield (modality,), SAMPLE


def _measure(
    opened: OpenRelease,
    drawn: QuerySamples,
    vectors: Mapping[str, np.ndarray],
    gallery: str,
    systems: Mapping[str, System],
    level: float,
) -> Figures:
    """Reciprocal ranks, gains and times of corrected search and of each system, on one split."""
    ranks, milliseconds = {}, {}
    for name, system in {"corrected": lambda query: query, **systems}.items():
        started = time.perf_counter()
        own_ranks = ranks_of(
            opened, drawn, vectors, gallery, system, DEPTH, by_id=name in LATE or gallery == SAMPLE
        )
        ranks[name] = reciprocal(own_ranks)
        queries = int((~np.isnan(ranks[name])).sum())
        milliseconds[name] = 1000 * (time.perf_counter() - started) / queries
    gains = {name: ranks[name] - ranks["corrected"] for name in systems}
    return {
        "queries": queries,
        "mrr": intervals(ranks, drawn),
        "gain": intervals(gains, drawn, level),
        "milliseconds": milliseconds,
    }


def _direction(validation: Figures, test: Figures, systems: Mapping[str, System]) -> Figures:
    return {
        "queries": test["queries"],
        "corrected": test["mrr"]["corrected"],
        "milliseconds": test["milliseconds"]["corrected"],
        "systems": {
            name: {
                "mrr": test["mrr"][name]["mean"],
                "validation": validation["gain"][name],
                "test": test["gain"][name],
                "adopted": validation["gain"][name]["low"] > 0,
                "milliseconds": test["milliseconds"][name],
            }
            for name in systems
        },
    }
