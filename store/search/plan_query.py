"""Plans a query with the code that runs it, but without encoders and vector searches."""

import numpy as np

from store.search.column_plan import WeightedInput, column_queries, raw_query
from store.search.column_query import ColumnQuery
from store.search.cross_route import crossed_modalities
from store.search.encode import EncodedQuery, encode_queries
from store.search.execute import first_count
from store.search.gallery_search import GallerySearch
from store.search.inputs import Inputs
from store.search.moments import check_moments, gallery_search_of
from store.search.opened import OpenRelease
from store.search.plan import Plan, PlannedCorrection, PlannedGallery, PlannedSearch
from store.search.query import Query
from store.search.query_options import AUTO
from store.search.rescoring import candidate_count
from store.search.router import check_route
from store.search.threshold import FIRST_ROWS
from store.tables.indexes import FLAT


def plan_query(opened: OpenRelease, query: Query) -> Plan:
    """Plan a query; of a batch, its first query.

    Args:
        opened: the release that the query searches, unless it names another one.
        query: to plan. Its texts and media are not encoded. Parts given by id are looked up, and
            the rows that satisfy its condition are counted.

    Raises:
        InputError: the condition cannot be used, or the release has no such gallery.
        NotFoundError: a selected column or an id does not exist, or there is no release.
    """
    opened = opened.at(query.number)
    searched = opened.searched(query.gallery)
    check_moments(opened, query)
    check_route(query)
    parts = query.inputs if query.compound else query.inputs[:1]
    encoded = [_placeholders(opened, inputs) for inputs in parts]
    count = first_count(query) + sum(len(part.own_parts) for part in encoded)
    galleries = tuple(
        _gallery(opened, _unsearched(opened, query, part, modality), query, count)
        for modality in searched
        for part in encoded
    )
    exact: bool | None = None
    if (
        query.relevance is not None
        or query.expansion is not None
        or query.interaction is not None
        or any(gallery.exact is False for gallery in galleries)
    ):
        exact = False
    elif not _finds_out(query) and all(g.exact for g in galleries):
        exact = True
    recall = min(gallery.recall for gallery in galleries)
    steps = tuple(_steps(query, len(searched)))
    return Plan(str(query), opened.release.number, galleries, steps, exact, recall)


def _unsearched(
    opened: OpenRelease, query: Query, part: EncodedQuery, modality: str
) -> GallerySearch:
    inputs = part.inputs
    if query.path == "cross":
        inputs = crossed_modalities(opened, inputs, modality)
    return gallery_search_of(opened, query, inputs, modality)


def _finds_out(query: Query) -> bool:
    """Whether only the search itself finds out if its rows are proven to be the best."""
    if query.gallery == AUTO:
        return True
    return bool(query.full_text or query.combination != "sum" or query.aggregation != "max")


def _placeholders(opened: OpenRelease, inputs: Inputs) -> EncodedQuery:
    """The inputs with zeros as vectors; parts given by id with their own."""
    by_id = tuple(i for i in inputs if i.kind == "id")
    looked_up = encode_queries(opened, (by_id,))[0] if by_id else EncodedQuery([], frozenset())
    zeros = np.zeros(opened.release.dim, np.float32)
    others = [WeightedInput(i.modality, zeros, i.weight) for i in inputs if i.kind != "id"]
    return EncodedQuery([*others, *looked_up.inputs], looked_up.own_parts)


def _gallery(
    opened: OpenRelease, search: GallerySearch, query: Query, count: int
) -> PlannedGallery:
    gallery, inputs, compiled = search.gallery, search.inputs, search.compiled_directions
    count, candidates = search.first_fetch(count), 0
    if compiled is None:
        if query.compound or query.full_text:
            search.check_compiled()
        candidates = count = candidate_count(count)
        queries, is_joined = [raw_query(gallery, inputs)], False
    else:
        corrected = [i for i in inputs if i.modality in compiled]
        queries = column_queries(gallery, inputs, compiled, corrected)
        is_joined = query.compound is not None or len(queries) > 1
        count = max(count, FIRST_ROWS) if is_joined else count
    planned = tuple(_search(search, each, count) for each in queries)
    rows = gallery.table.count_rows()
    matches = None if search.where is None else gallery.count(search.where)
    is_dynamic = any(direction.recipe.dynamic for direction in (compiled or {}).values())
    scans = all(each.method == "scan" for each in planned)
    exact: bool | None = scans
    if candidates:
        exact = scans and (rows if matches is None else matches) < candidates
    elif (is_joined and not scans) or (is_dynamic and gallery.index.type != FLAT):
        exact = None
    corrections = tuple(_corrections(opened, search, query))
    return PlannedGallery(
        gallery.modality, rows, matches, search.where, corrections, planned, candidates, exact
    )


def _search(search: GallerySearch, query: ColumnQuery, count: int) -> PlannedSearch:
    gallery = search.gallery
    access = gallery.access(query, count, search.where)
    if access.probe is None:
        return PlannedSearch(query.column, count, "scan", 0, 0, 0, 1.0, access.reason)
    probe, index = access.probe, gallery.index
    return PlannedSearch(
        query.column,
        count,
        index.type,
        min(probe.nprobes, index.partitions),
        index.partitions,
        probe.refine,
        probe.recall,
        access.reason,
    )


def _corrections(
    opened: OpenRelease, search: GallerySearch, query: Query
) -> list[PlannedCorrection]:
    """The corrections of the modalities of the inputs."""
    compiled, planned = search.compiled_directions, []
    for modality in dict.fromkeys(i.modality for i in search.inputs):
        name = f"{modality}->{search.gallery.modality}"
        direction = opened.release.directions.get(name)
        if compiled is None:
            reason = "requested; it is not compiled into this release"
            method, params = query.method, dict(query.params)
        elif query.method == "none" or direction is None:
            reason = "requested" if query.method == "none" else "the release has no such direction"
            method, params = "none", {}
        else:
            reason, method, params = direction.reason, direction.method, direction.params
            if direction.recipe.dynamic:
                reason += "; only if the query's top item is a hub"
        planned.append(PlannedCorrection(name, method, params, compiled is not None, reason))
    return planned


def _steps(query: Query, galleries: int) -> list[str]:
    """What is done with the rows of the galleries."""
    steps = []
    if query.path == "cross":
        steps.append("before: inputs of a gallery's own modality become those of another one")
    if query.in_moments:
        steps.append("moments are searched where a gallery has some: a part is its best moment")
    if query.combination != "sum":
        steps.append(f"the scores of several inputs are combined by their {query.combination}")
    if query.compound is not None:
        steps.append(
            "the calibrated scores of the parts are joined: by the threshold algorithm over an"
            " index, else by one scan"
        )
    if query.full_text is not None:
        steps.append("captions are searched too, and the lists are fused by reciprocal ranks")
    elif query.gallery == AUTO:
        steps.append("of these galleries and their moments, the one with the largest gap is taken")
    elif galleries > 1:
        steps.append("the lists are merged by calibrated scores")
    if query.expansion is not None:
        hops, alpha = query.expansion.hops, query.expansion.alpha
        steps.append(f"rows are ranked by the graph around them: hops {hops}, alpha {alpha:g}")
    if query.interaction is not None:
        depth, weight = query.interaction.depth, query.interaction.weight
        steps.append(
            f"the best {depth:,} rows are ranked anew by their token vectors: weight {weight:g}"
        )
    if query.gallery == "sample":
        steps.append("each sample keeps its best part")
    if query.aggregation != "max":
        how = "the soft maximum" if query.aggregation == "softmax" else "learned weights"
        steps.append(f"samples are ranked by {how} of the scores of all their parts")
    if query.floor is not None:
        steps.append(f"rows with a score below {query.floor:g} are left out")
    if query.duplicate is not None:
        steps.append(f"rows with a cosine of {query.duplicate:g} to a better row are left out")
    if query.relevance is not None:
        steps.append(f"rows are ordered by maximal marginal relevance, {query.relevance:g}")
    if query.start:
        steps.append(f"the best {query.start:,} rows are left out")
    return [*steps, f"at most {query.count:,} rows are returned"]
