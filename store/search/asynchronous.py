"""Searches for asyncio: the words of `Search`, whose last word is awaited.

corpus = isotrope.connect_async("data/stamps")
rows = await corpus.search(text="a striped cat").among("image").limit(10).to_list()
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import pyarrow as pa

from store.errors import InputError
from store.search.async_subset import AsyncSubset
from store.search.corpus import Corpus
from store.search.explanation import Explanation
from store.search.plan import Plan
from store.search.query import Query
from store.search.result import Hit, Result
from store.search.search import Searchable
from store.search.statistics import Statistics
from store.tables.releases import Release

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class AsyncRunner(Protocol):
    """Runs queries: an open release, or a client of a server."""

    async def run(self, query: Query) -> Result: ...

    async def plan(self, query: Query) -> Plan: ...

    async def explain_row(self, query: Query, row: int) -> Explanation: ...


@dataclass(frozen=True)
class AsyncSearch(Query):
    """A query that has not run yet. Every method returns a new one; `to_*` and `show` run it.

    Errors are those of `store.search.search.Search`.

    Attributes:
        runner: runs the query.
    """

    runner: AsyncRunner | None = field(default=None, repr=False, compare=False)

    async def run(self) -> Result:
        """Run the query."""
        return await self._runner().run(self.value)

    async def to_arrow(self) -> pa.Table:
        """Run the query and return its rows, best first. See `Search.to_arrow`."""
        return (await self.run()).rows

    async def to_pandas(self) -> "pd.DataFrame":
        """Run the query and return the rows of `to_arrow` as a data frame."""
        return (await self.run()).to_pandas()

    async def to_polars(self) -> "pl.DataFrame":
        """Run the query and return the rows of `to_arrow` as a polars data frame."""
        return (await self.run()).to_polars()

    async def to_list(self) -> list[dict[str, Any]]:
        """Run the query and return the rows of `to_arrow` as dictionaries."""
        return (await self.to_arrow()).to_pylist()

    async def __aiter__(self) -> AsyncIterator[Hit]:
        """Run the query; iterate over its hits."""
        for hit in await self.run():
            yield hit

    async def explain(self) -> Plan:
        """What the query will do, without running it. See `Search.explain`."""
        return await self._runner().plan(self.value)

    async def explain_row(self, row: int = 0) -> Explanation:
        """Run the query and explain the rank of a row, from 0. See `Result.explain`."""
        return await self._runner().explain_row(self.value, row)

    async def show(self) -> None:
        """Run the query and print the result as a table."""
        (await self.run()).show()

    def _runner(self) -> AsyncRunner:
        if self.runner is None:
            raise InputError("this query has no corpus: run it as corpus.run(query)")
        return self.runner


class AsyncCorpus(Searchable[AsyncSearch]):
    """A corpus that is opened by its path, for asyncio. `isotrope.connect_async` makes it.

    Lance scans without Python's lock, so queries run in threads and do not block the event loop.

    Args:
        corpus: the corpus.
    """

    def __init__(self, corpus: Corpus):
        self._corpus = corpus

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._corpus!r})"

    async def release(self) -> Release:
        """The release that is searched. Raises NotFoundError if there is none."""
        return await asyncio.to_thread(lambda: self._corpus.release)

    async def refresh(self) -> Self:
        """Switch to the newest release, unless the corpus was opened at a release number."""
        await asyncio.to_thread(self._corpus.refresh)
        return self

    async def run(self, query: Query) -> Result:
        """Run a query. See `Search.run`."""
        return await asyncio.to_thread(self._corpus.run, query)

    async def plan(self, query: Query) -> Plan:
        """What a query will do. See `Search.explain`."""
        return await asyncio.to_thread(self._corpus.plan, query)

    async def explain_row(self, query: Query, row: int) -> Explanation:
        """Run a query and explain a row. See `Result.explain`."""
        return await asyncio.to_thread(lambda: self._corpus.run(query).explain(row))

    async def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return await asyncio.to_thread(self._corpus.sample, sample_id)

    async def samples(self, ids: Sequence[str]) -> AsyncIterator[pa.Table]:
        """Stream samples with their media. See `store.search.sample_batches.read_samples`."""
        batches = await asyncio.to_thread(self._corpus.samples, ids)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield batch

    def subset(self, query: Query) -> AsyncSubset:
        """The samples of a query's result, to stream or export. See `Corpus.subset`."""
        return AsyncSubset(self, query.value, self._corpus.exporter)

    async def statistics(self) -> Statistics:
        """Measure the galleries. See `store.search.statistics.describe_galleries`."""
        return await asyncio.to_thread(self._corpus.statistics)

    async def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return await asyncio.to_thread(self._corpus.thumbnail, part_id)

    async def close(self) -> None:
        """Write the buffered rows of the query log."""
        await asyncio.to_thread(self._corpus.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _bind(self, query: Query) -> AsyncSearch:
        return AsyncSearch(query.inputs, query.is_batch, runner=self)
