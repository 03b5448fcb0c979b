"""Questions with known answers: pairs set aside, and where their answers are in a gallery."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from store.arrays import equal_range, lookup
from store.tables.banks import Banks

MOST_MATES = 16  # a cluster larger than that hangs together by a caption that says nothing


@dataclass(frozen=True)
class Gallery:
    """What is searched: unit vectors (n, d), clusters (n,), part ids (n,) sorted."""

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray

    def rows(self, parts: set[str]) -> list[int]:
        """Rows of the given parts; those that are not in the gallery are left out."""
        index = lookup(self.parts, np.array(sorted(parts), dtype=str))
        return index[index >= 0].tolist()


class Questions(NamedTuple):
    """Unit vectors (m, d), clusters (m,) and part ids (m,) of queries; the gallery rows that are
    right for each; and the row (m,) that a query itself has, -1 for none, which does not count."""

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray
    answers: list[list[int]]
    own: np.ndarray

    @property
    def answered(self) -> int:
        """How many have an answer."""
        return sum(bool(a) for a in self.answers)

    def with_answers(self) -> "Questions":
        """Those that have an answer."""
        some = np.array([i for i, answer in enumerate(self.answers) if answer], np.int64)
        return Questions(
            self.vectors[some],
            self.clusters[some],
            self.parts[some],
            [self.answers[i] for i in some],
            self.own[some],
        )


def questions(banks: Banks, split: str, query: str, searched: str, gallery: Gallery) -> Questions:
    """The queries of one modality in a split, with their right answers in a gallery of another.

    A pair's parts answer each other. Within one modality the other parts of a query's cluster do:
    the five captions of a picture, the pictures of a caption.
    """
    vectors, clusters, parts = banks.part(split, query)
    own = np.full(len(parts), -1)
    if query != searched:
        pairs = banks.pairs(split, query, searched)
        answers = [gallery.rows(pairs.get(part, set())) for part in parts]
        return Questions(vectors, clusters, parts, answers, own)
    order = np.argsort(gallery.clusters, kind="stable")
    ordered = gallery.clusters[order]
    first, count = equal_range(ordered, clusters)
    answers = []
    for i, part in enumerate(parts):
        members = order[first[i] : first[i] + count[i]].tolist()
        own[i] = next((row for row in members if gallery.parts[row] == part), -1)
        mates = [row for row in members if row != own[i]]
        answers.append(mates if len(mates) < MOST_MATES else [])
    return Questions(vectors, clusters, parts, answers, own)
