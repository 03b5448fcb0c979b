"""Searches the moments of parts: each part is listed once, by its best moment, with its span.

A long recording or a large image has one vector, which says little about a sound of two seconds or
a thing in a corner. Its windows or tiles have vectors of their own, at a gallery level below that
of parts (levels of granularity: UniversalRAG, Yeo et al. 2025, arXiv 2504.20734; moments of a whole
corpus: Escorcia et al. 2019, "Temporal localization of moments in video collections with natural
language"). The score of a part is that of its best moment, corrected as an item of the gallery is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from store.errors import InputError
from store.search.column_plan import WeightedInput
from store.search.gallery_search import GalleryRows, GallerySearch
from store.search.open_gallery import OpenGallery
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.rerank import first_of_each
from store.tables.moments import SPAN_COLUMNS

_GROWTH = 4  # moments that are fetched for each part that is wanted; then of the moments


def gallery_search_of(
    opened: OpenRelease, query: Query, inputs: Sequence[WeightedInput], modality: str
) -> GallerySearch:
    """The search of a gallery, or of its moments if the query wants moments and it has some."""
    has_moments = query.in_moments and opened.open_moments(modality) is not None
    search = MomentSearch if has_moments else GallerySearch
    return search(opened, query, inputs, modality)


def check_moments(opened: OpenRelease, query: Query) -> None:
    """Raise InputError if a query of moments cannot be run."""
    if not query.in_moments:
        return
    if refused := conflict(query):
        raise InputError(
            f"moments() ranks by vectors of moments: it cannot be joined with {refused}"
        )
    searched = opened.searched(query.gallery)
    if not any(opened.open_moments(m) is not None for m in searched):
        raise InputError(
            f"moments(): release {opened.release.number} has no moments of {', '.join(searched)}:"
            " they are made with `moments: {audio: {seconds: 2}, image: {tiles: 2}}` in corpus.yaml"
        )


def conflict(query: Query) -> str:
    """What of a query cannot be joined with moments; empty if there is nothing."""
    others = {
        "a compound query": query.compound,
        "hybrid()": query.full_text,
        "expand()": query.expansion,
        "late()": query.interaction,
        f'aggregate("{query.aggregation}")': query.aggregation != "max",
    }
    return next((name for name, given in others.items() if given), "")


class MomentSearch(GallerySearch):
    """A query on the moments of one gallery. Its rows are parts, with the span of their best."""

    def _open(self, opened: OpenRelease, modality: str) -> OpenGallery:
        moments = opened.open_moments(modality)
        assert moments is not None
        self._spans = [c for c in SPAN_COLUMNS if c in moments.table.schema.names]
        return moments

    @property
    def own_columns(self) -> list[str]:
        return [*super().own_columns, *self._spans]

    def first_fetch(self, count: int) -> int:
        return _GROWTH * count

    def best(self, count: int) -> GalleryRows:
        """The `count` best parts: fetches more moments until there are so many parts.

        The best moment of a part comes before its others, and the part's rank among the fetched
        moments is final. So the list is as proven as that of the moments.
        """
        fetched = self.first_fetch(count)
        while True:
            answer = super().best(fetched)
            rows = answer.rows.take(pa.array(first_of_each(answer.rows["part_id"])))
            if rows.num_rows >= count or answer.rows.num_rows < fetched:
                return replace(answer, rows=rows.slice(0, count))
            fetched *= _GROWTH

    def row(self, part_id: str, hit: dict[str, Any]) -> pa.Table:
        rows = super().row(part_id, hit)
        spans = rows.select(self._spans).to_pylist()
        number = spans.index({name: hit[name] for name in self._spans})
        return rows.slice(number, 1)
