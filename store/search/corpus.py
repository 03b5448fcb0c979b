"""The query client: one corpus, opened at a release.

corpus = isotrope.connect("data/stamps")
hits = corpus.search(text="a striped cat").among("image").where("image_width >= 256").limit(10)
hits.to_pandas()
"""

from typing import Any

from store.search.execute import run_query
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.release_items import describe_sample, thumbnail
from store.search.result import Result
from store.search.search import Search, Searchable


class Corpus(OpenRelease, Searchable[Search]):
    """One corpus, opened at one of its releases. `isotrope.connect` makes it."""

    def refresh(self) -> "Corpus":
        """Switch to the newest release, unless the corpus was opened at a release number."""
        self._clear()
        return self

    def run(self, query: Query) -> Result:
        """Run a query, such as `Query.from_json` returns.

        Raises:
            IsotropeError: see `Search.run`.
        """
        return run_query(self, query)

    def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return describe_sample(self, sample_id)

    def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return thumbnail(self, part_id)

    def _bind(self, query: Query) -> Search:
        return Search(query.inputs, query.is_batch, runner=self)
