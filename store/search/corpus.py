"""The query client: one corpus, opened at a release.

corpus = isotrope.connect("data/stamps")
hits = corpus.search(text="a striped cat").among("image").where("image_width >= 256").limit(10)
hits.to_pandas()
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from store.search.execute import run_query
from store.search.opened import OpenRelease
from store.search.plan import Plan
from store.search.plan_query import plan_query
from store.search.query import Query
from store.search.release_items import describe_sample, thumbnail
from store.search.result import Result
from store.search.sample_batches import read_samples
from store.search.search import Search, Searchable
from store.search.statistics import Statistics, describe_galleries
from store.search.subset import Exporter, Subset
from store.search.suggest import suggest
from store.search.suggestion import Suggestion


class Corpus(OpenRelease, Searchable[Search]):
    """One corpus, opened at one of its releases. `isotrope.connect` makes it.

    Attributes:
        exporter: writes subsets into folders. None: the corpus was not opened by its folder.
    """

    exporter: Exporter | None = None

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

    def plan(self, query: Query) -> Plan:
        """What a query will do. See `store.search.plan_query.plan_query`."""
        return plan_query(self, query)

    def suggest(self, query: Query, count: int = 5) -> list[Suggestion]:
        """Changes of a query's text. See `store.search.suggest.suggest`."""
        return suggest(self, query, count)

    def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return describe_sample(self, sample_id)

    def samples(self, ids: Sequence[str]) -> Iterator[pa.Table]:
        """Stream samples with their media. See `store.search.sample_batches.read_samples`."""
        return read_samples(self, ids)

    def subset(self, query: Query) -> Subset:
        """The samples of a query's result: `corpus.subset(corpus.search(text="a cat"))`."""
        return Subset(self, query.value, self.exporter)

    def statistics(self) -> Statistics:
        """Measure the galleries. See `store.search.statistics.describe_galleries`."""
        return describe_galleries(self)

    def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return thumbnail(self, part_id)

    def _bind(self, query: Query) -> Search:
        return Search(query.inputs, query.is_batch, runner=self)
