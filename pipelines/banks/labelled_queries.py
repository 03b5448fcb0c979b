"""Queries with known answers: pairs that were set aside, with their rows in a gallery."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from store.arrays import equal_range, lookup
from store.tables.banks import Banks

# Larger clusters are usually joined by a generic caption ("photo"), which labels no right answer.
MOST_MATES = 16


@dataclass(frozen=True)
class Gallery:
    """The items that are searched.

    Attributes:
        vectors: (n, d) unit rows.
        clusters: (n,) strings.
        parts: (n,) part ids, sorted.
    """

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray

    def without(self, clusters: np.ndarray) -> np.ndarray:
        """(n,) bool, False for the items of these clusters."""
        return ~np.isin(self.clusters, clusters)

    def take(self, mask: np.ndarray) -> "Gallery":
        """The items where `mask` (n,) is True."""
        return Gallery(self.vectors[mask], self.clusters[mask], self.parts[mask])

    def rows(self, parts: Iterable[Collection[str]]) -> list[list[int]]:
        """The rows of each set of parts, ascending; parts that the gallery lacks are left out."""
        names = [sorted(each) for each in parts]
        of_names = lookup(self.parts, np.array(list(chain.from_iterable(names)), dtype=str))
        index = iter(of_names.tolist())
        return [[row for row in islice(index, len(each)) if row >= 0] for each in names]


class LabelledQueries(NamedTuple):
    """Queries with their right answers.

    Attributes:
        vectors: (m, d) unit rows.
        clusters: (m,) strings.
        parts: (m,) part ids.
        answers: m lists of gallery rows, the right answers; empty if a query has none.
        own_rows: (m,) the gallery row of the query itself, which does not count; -1 if none.
    """

    vectors: np.ndarray
    clusters: np.ndarray
    parts: np.ndarray
    answers: list[list[int]]
    own_rows: np.ndarray

    @property
    def answered(self) -> int:
        """The number of queries with an answer."""
        return sum(bool(rows) for rows in self.answers)

    def with_answers(self) -> "LabelledQueries":
        """Only the queries with an answer."""
        kept = np.array([i for i, rows in enumerate(self.answers) if rows], np.int64)
        return LabelledQueries(
            self.vectors[kept],
            self.clusters[kept],
            self.parts[kept],
            [self.answers[i] for i in kept],
            self.own_rows[kept],
        )


def labelled_queries(
    banks: Banks, split: str, query: str, gallery_modality: str, gallery: Gallery
) -> LabelledQueries:
    """The queries of one modality in a split, with their right answers in a gallery.

    Between two modalities, the parts of a sample answer each other. Within one modality, the right
    answers are the other parts of the query's cluster, such as the five captions of an image or
    the images of a caption. A query with `MOST_MATES` or more of them counts as unanswered.

    Args:
        banks: the banks of the space.
        split: "validation" or "test".
        query: modality of the queries.
        gallery_modality: modality of the gallery.
        gallery: its items.
    """
    vectors, clusters, parts = banks.pair_queries(split, query)
    own_rows = np.full(len(parts), -1)
    if query != gallery_modality:
        pairs = banks.pairs(split, query, gallery_modality)
        answers = gallery.rows(pairs.get(part, ()) for part in parts)
        return LabelledQueries(vectors, clusters, parts, answers, own_rows)
    order = np.argsort(gallery.clusters, kind="stable")
    first, count = equal_range(gallery.clusters[order], clusters)
    answers = []
    for i, part in enumerate(parts):
        members = order[first[i] : first[i] + count[i]].tolist()
        own_rows[i] = next((row for row in members if gallery.parts[row] == part), -1)
        mates = [row for row in members if row != own_rows[i]]
        answers.append(mates if len(mates) < MOST_MATES else [])
    return LabelledQueries(vectors, clusters, parts, answers, own_rows)
