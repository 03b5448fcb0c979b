"""Which vector columns of a gallery a query is compared with, and by which vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from store.search.column_query import ColumnQuery
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import query_vector
from store.tables.direction import Direction
from store.tables.indexes import probe_name


@dataclass(frozen=True)
class WeightedInput:
    """One input of a query: its modality, its unit vector (d,) and its weight in the score.

    `part` is its id, and `sample` that of its sample, if it was given by id.
    """

    modality: str
    vector: np.ndarray
    weight: float
    sample: str = ""
    part: str = ""


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
    batch: Sequence[Sequence[WeightedInput]],
    directions: Mapping[str, Direction],
    where: str | None,
) -> list[ColumnPlan]:
    """Plan the searches of queries by the corrections that are compiled into a gallery.

    Args:
        gallery: to search.
        batch: the inputs of each query. Several inputs of a query may have one modality.
        directions: the compiled correction for each modality of inputs. Inputs of other modalities
            are not corrected.
        where: a condition on the gallery's columns.

    Raises:
        InputError: `where` is not a condition on the gallery's columns.
    """
    dynamic = [
        i
        for inputs in batch
        for i in inputs
        if i.modality in directions and directions[i.modality].recipe.dynamic
    ]
    decided = iter(_look_for_hubs(gallery, dynamic, directions, where))
    plans = []
    for inputs in batch:
        corrected, exact = [], True
        for i in inputs:
            decision = Decision(i.modality in directions, True)
            if decision.applies and directions[i.modality].recipe.dynamic:
                decision = next(decided)
            exact = exact and decision.exact
            corrected += [i] if decision.applies else []
        queries = column_queries(gallery, inputs, directions, corrected)
        plans.append(ColumnPlan(queries, corrected, exact))
    return plans


def bias_applies(
    gallery: OpenGallery, given: WeightedInput, direction: Direction, where: str | None
) -> Decision:
    """Whether the bias is subtracted for this input.

    Static methods always subtract it. Dynamic methods do only if the input's top item is a hub.
    """
    if not direction.recipe.dynamic:
        return Decision(True, True)
    return _look_for_hubs(gallery, [given], {given.modality: direction}, where)[0]


def _look_for_hubs(
    gallery: OpenGallery,
    inputs: Sequence[WeightedInput],
    directions: Mapping[str, Direction],
    where: str | None,
) -> list[Decision]:
    """For each input of a dynamic method: whether its top item is a hub."""
    queries: list[ColumnQuery] = []
    for i in inputs:
        column = vector_column(i.modality, directions)
        # Only the scores of the column `vector` were measured without a bias.
        probes = (probe_name(i.modality, gallery.modality, False),) if column == "vector" else ()
        queries.append(ColumnQuery(column, query_vector(i.vector, {}, directions), 0.0, probes))
    flags = list(dict.fromkeys(f"hub_{i.modality}" for i in inputs))
    fetched = gallery.fetch_many(queries, 1, flags, where)
    return [
        Decision(bool(top.rows.num_rows and top.rows[f"hub_{i.modality}"][0].as_py()), top.exact)
        for i, top in zip(inputs, fetched, strict=True)
    ]


def raw_query(gallery: OpenGallery, inputs: Sequence[WeightedInput]) -> ColumnQuery:
    """The search by raw scores."""
    probes = {probe_name(i.modality, gallery.modality, False) for i in inputs}
    return ColumnQuery("vector", query_vector(combine(inputs), {}, {}), 0.0, tuple(sorted(probes)))


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
        vector = query_vector(combine(members), weights, directions)
        queries.append(ColumnQuery(column, vector, offset, tuple(sorted(probes))))
    return queries
