"""Expands a list of results along a graph: k nearest neighbours, and parts of the same samples.

The graph of MMGL (Yoon et al. 2023), RAG-Anything (Guo et al. 2025) and UniGraph2 (He et al. 2025)
joins items that are alike and items that belong together. Here it is never stored: the
neighbourhood of the best rows is read when the query runs, with searches of the same galleries, so
that it always has the release's corrections and the query's condition.

Nodes are parts. A row of the list is a seed, with a restart probability in proportion to 1 / rank.
Each hop follows the edges of up to `FRONTIER` nodes: to the `NEAREST` items of their own gallery by
corrected scores, with weights max(c, 0)^3 of calibrated scores c that are scaled to sum to one, and
to the other parts of their samples, with the weight 1. Rows are ranked by personalised PageRank.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from store.arrow import as_matrix
from store.search.column_plan import WeightedInput
from store.search.gallery_search import GallerySearch, search_together
from store.search.open_gallery import ROW_ID
from store.search.opened import OpenRelease
from store.search.page_rank import personalised_page_rank
from store.search.query import Query
from store.search.ranked import Ranked, without
from store.search.vector_layout import unfold
from store.tables.lance_tables import one_of

SCORE = "_expanded"
NEAREST = 10
FRONTIER = 256  # nodes whose edges are followed in a hop
_POWER = 3.0  # of calibrated scores: edges to the nearest items count most

Node = tuple[str, str]  # modality and part id


@dataclass
class _Graph:
    """The nodes that were reached, in order, and the edges between them."""

    nodes: dict[Node, int] = field(default_factory=dict)
    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)

    def add(self, node: Node) -> int:
        """The number of a node."""
        return self.nodes.setdefault(node, len(self.nodes))

    def join(self, node: int, others: Sequence[Node], weights: Sequence[float]) -> None:
        """Add edges from a node."""
        self.start += [node] * len(others)
        self.end += [self.add(other) for other in others]
        self.weight += weights


def expand(
    opened: OpenRelease,
    query: Query,
    searches: Sequence[GallerySearch],
    ranked: Ranked,
    own_parts: frozenset[str],
    count: int,
) -> Ranked:
    """The `count` best rows by the graph around a list of results.

    Args:
        opened: the release.
        query: its `expansion`, condition and correction are used.
        searches: of the query, one for each gallery. Rows of other galleries are only passed.
        ranked: the list, best first.
        own_parts: of the query, which are left out.
        count: the largest number of rows.

    Raises:
        InputError: the query's correction is not compiled into the release.
    """
    assert query.expansion is not None
    for search in searches:
        search.check_compiled()
    listed, graph = ranked.answer.rows, _Graph()
    seeds = zip(listed["modality"].to_pylist(), listed["part_id"].to_pylist(), strict=True)
    for seed in seeds:
        graph.add(seed)
    seeded = len(graph.nodes)
    followed = 0
    for _ in range(query.expansion.hops):
        frontier = list(graph.nodes)[followed : followed + FRONTIER]
        followed += len(frontier)
        for modality in opened.release.modalities:
            parts = [part for m, part in frontier if m == modality]
            if parts:
                _follow(opened, query, graph, modality, parts)
    restart = np.zeros(len(graph.nodes))
    restart[:seeded] = 1 / np.arange(1, seeded + 1)
    restart /= restart.sum() or 1
    rank = personalised_page_rank(
        np.array(graph.start, np.int64),
        np.array(graph.end, np.int64),
        np.array(graph.weight),
        restart,
        query.expansion.alpha,
    )
    reached = list(graph.nodes)[seeded:]
    more = []
    for search in searches:
        parts = [part for m, part in reached if m == search.gallery.modality]
        if parts:
            more.append(search.rows(_read(search, parts)[ROW_ID].to_pylist()))
    rows = pa.concat_tables([listed, *more], promote_options="permissive")
    names = zip(rows["modality"].to_pylist(), rows["part_id"].to_pylist(), strict=True)
    score = rank[[graph.nodes[node] for node in names]] if rows.num_rows else np.zeros(0)
    order = np.lexsort((-rows["_calibrated"].to_numpy(), -score))
    rows = rows.append_column(SCORE, pa.array(score)).take(pa.array(order))
    rows = without(rows, own_parts).slice(0, count)
    note = f"expand: a graph of {len(graph.nodes):,} parts was ranked"
    notes = (*ranked.answer.notes, note)
    return Ranked(replace(ranked.answer, rows=rows, complete=False, notes=notes), SCORE, False)


def _follow(
    opened: OpenRelease, query: Query, graph: _Graph, modality: str, parts: list[str]
) -> None:
    """Add the edges of some nodes of one gallery."""
    method = "none" if query.method == "none" else "auto"
    near = Query(
        (), gallery=modality, method=method, condition=query.condition, columns=("part_id",)
    )
    search = GallerySearch(opened, near, [], modality)
    rows = _read(search, parts)
    order = {part: n for n, part in enumerate(parts)}
    rows = rows.take(pa.array(np.argsort([order[p] for p in rows["part_id"].to_pylist()])))
    vectors = unfold(as_matrix(rows["vector"]), opened.release.dim)
    names = rows["part_id"].to_pylist()
    numbers = [graph.nodes[modality, part] for part in names]
    searches = [
        GallerySearch(opened, near, [WeightedInput(modality, vector, 1.0)], modality)
        for vector in vectors
    ]
    search_together(searches, NEAREST + 1)
    for number, part, each in zip(numbers, names, searches, strict=True):
        best = each.best(NEAREST + 1).rows
        is_other = np.array([other != part for other in best["part_id"].to_pylist()], bool)
        best = best.filter(pa.array(is_other)).slice(0, NEAREST)
        weights = np.maximum(best["_calibrated"].to_numpy(), 0) ** _POWER
        others = [(modality, other) for other in best["part_id"].to_pylist()]
        is_near = np.flatnonzero(weights)
        shares = (weights[is_near] / (weights.sum() or 1)).tolist()
        graph.join(number, [others[n] for n in is_near], shares)
    by_sample: dict[str, list[int]] = {}
    for number, sample in zip(numbers, rows["id"].to_pylist(), strict=True):
        by_sample.setdefault(sample, []).append(number)
    for other in opened.release.modalities:
        if other != modality:
            _join_samples(GallerySearch(opened, near, [], other), graph, by_sample)


def _join_samples(search: GallerySearch, graph: _Graph, samples: dict[str, list[int]]) -> None:
    """Add the edges to the parts of samples in another gallery."""
    condition = one_of("id", samples)
    if search.where is not None:
        condition = f"({search.where}) AND {condition}"
    rows = search.gallery.table.to_table(columns=["part_id", "id"], filter=condition)
    for row in rows.to_pylist():
        for number in samples[row["id"]]:
            graph.join(number, [(search.gallery.modality, row["part_id"])], [1.0])


def _read(search: GallerySearch, parts: Sequence[str]) -> pa.Table:
    """The rows of parts: `part_id`, `id`, `vector` and `_rowid`."""
    return search.gallery.table.to_table(
        columns=["part_id", "id", "vector"], filter=one_of("part_id", parts), with_row_id=True
    )
