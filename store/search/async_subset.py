"""`store.search.subset` for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from store.search.query import Query
from store.search.result import Result
from store.search.subset import Exporter, ExportResult, checked, sample_ids


class AsyncSource(Protocol):
    """Where the samples of a subset are: a corpus for asyncio."""

    async def run(self, query: Query) -> Result: ...

    def samples(self, ids: Sequence[str]) -> AsyncIterator[pa.Table]: ...


class AsyncSubset:
    """The samples that a query finds. `subset` of a corpus makes it; the query runs once.

    The arguments are those of `store.search.subset.Subset`.
    """

    def __init__(self, corpus: AsyncSource, query: Query, exporter: Exporter | None):
        self._corpus = corpus
        self._query = query
        self._exporter = exporter
        self._ids: list[str] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._query})"

    async def ids(self) -> list[str]:
        """The ids of the samples, in the order of the result."""
        if self._ids is None:
            self._ids = sample_ids(await self._corpus.run(self._query))
        return self._ids

    async def samples(self) -> AsyncIterator[pa.Table]:
        """Stream the samples. See `Corpus.samples`."""
        async for batch in self._corpus.samples(await self.ids()):
            yield batch

    async def export(
        self,
        to: str,
        folder: str | Path,
        *,
        signals: bool = False,
        mask: bool = False,
        overwrite: bool = False,
    ) -> ExportResult:
        """Write the samples into a folder. See `store.search.subset.Subset.export`."""
        exporter = checked(self._exporter)
        ids = await self.ids()
        return await asyncio.to_thread(
            exporter, ids, to, folder, signals=signals, mask=mask, overwrite=overwrite
        )
