"""Which vector columns of a gallery a query is compared with, and by which vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.search.open_gallery import ColumnQuery, OpenGallery
from store.search.vector_layout import query_vector
from store.tables.indexes import probe_name
from store.tables.releases import Direction


@dataclass(frozen=True)
class WeightedInput:
    """One input of a query: its modality, its unit vector (d,) and its weight in the score."""

    modality: str
    vector: np.ndarray
    weight: float


class Decision(NamedTuple):
    """Whether a bias applies, and whether this was found by an exact search."""

    applies: bool
    exact: bool


class ColumnPlan(NamedTuple):
    """The searches that a query needs, one for each vector column. Their scores add up.

    Attributes:
        queries: the searches.
        corrected: the inputs whose bias is subtracted.
        exact: whether it was found by exact searches which inputs these are.
    """

    queries: list[ColumnQuery]
    corrected: list[WeightedInput]
    exact: bool

    def scores(self, rows: pa.Table) -> np.ndarray:
        """The corrected scores (n,) of rows, which have the columns of all queries."""
        total = np.zeros(rows.num_rows, np.float32)
        for query in self.queries:
            total += query.scores(rows)
        return total


def combine(inputs: Sequence[WeightedInput]) -> np.ndarray:
    """The vector (d,) whose dot product with an item is the weighted sum of the raw scores."""
    weighted = np.stack([i.weight * i.vector for i in inputs])
    return weighted.sum(axis=0, dtype=np.float32)


def vector_column(modality: str, directions: Mapping[str, Direction]) -> str:
    """The vector column that queries of a modality are compared with."""
    moved = modality in directions and directions[modality].recipe.moves
    return f"vector_{modality}" if moved else "vector"


def plan_columns(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
    directions: Mapping[str, Direction],
    where: str | None,
) -> ColumnPlan:
    """Plan the searches of a query by the corrections that are compiled into a gallery.

    Args:
        gallery: to search.
        inputs: the query. Several inputs may have one modality.
        directions: the compiled correction for each modality of inputs. Inputs of other modalities
            are not corrected.
        where: a condition on the gallery's columns.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    decided = [
        bias_applies(gallery, i, directions[i.modality], where)
        if i.modality in directions
        else Decision(False, True)
        for i in inputs
    ]
    corrected = [i for i, decision in zip(inputs, decided, strict=True) if decision.applies]
    queries = column_queries(gallery, inputs, directions, corrected)
    return ColumnPlan(queries, corrected, all(decision.exact for decision in decided))


def bias_applies(
    gallery: OpenGallery, given: WeightedInput, direction: Direction, where: str | None
) -> Decision:
    """Whether the bias is subtracted for this input.

    Static methods always subtract it. Dynamic methods do only if the input's top item is a hub.
    """
    if not direction.recipe.dynamic:
        return Decision(True, True)
    column = vector_column(given.modality, {given.modality: direction})
    # Only the scores of the column `vector` were measured without a bias.
    probes = (probe_name(given.modality, gallery.modality, False),) if column == "vector" else ()
    query = ColumnQuery(column, query_vector(given.vector, {}), 0.0, probes)
    flag = f"hub_{given.modality}"
    top, exact, _ = gallery.fetch(query, 1, [flag], where)
    return Decision(bool(top.num_rows and top[flag][0].as_py()), exact)


def raw_query(gallery: OpenGallery, inputs: Sequence[WeightedInput]) -> ColumnQuery:
    """The search by raw scores."""
    probes = {probe_name(i.modality, gallery.modality, False) for i in inputs}
    return ColumnQuery("vector", query_vector(combine(inputs), {}), 0.0, tuple(sorted(probes)))


def column_queries(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
    directions: Mapping[str, Direction],
    corrected: Sequence[WeightedInput],
) -> list[ColumnQuery]:
    """The searches that the inputs need, one for each vector column."""
    by_column: dict[str, list[WeightedInput]] = {}
    for i in inputs:
        by_column.setdefault(vector_column(i.modality, directions), []).append(i)
    queries = []
    for column, members in by_column.items():
        weights: dict[str, float] = {}
        probes = set()
        for i in members:
            is_corrected = any(i is c for c in corrected)
            probes.add(probe_name(i.modality, gallery.modality, is_corrected))
            if is_corrected:
                weights[i.modality] = weights.get(i.modality, 0.0) + i.weight
        offset = -sum(weight * directions[m].centre for m, weight in weights.items())
        vector = query_vector(combine(members), weights)
        queries.append(ColumnQuery(column, vector, offset, tuple(sorted(probes))))
    return queries
