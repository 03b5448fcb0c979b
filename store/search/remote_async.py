"""A client of `isotrope serve` for asyncio."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Self

import pyarrow as pa

from store.identity import check_id
from store.search.async_subset import AsyncSubset
from store.search.asynchronous import AsyncSearch
from store.search.cards import Card
from store.search.connection import Address, AsyncConnection, Waits
from store.search.explanation import Explanation
from store.search.plan import Plan
from store.search.query import Query
from store.search.remote import EXPLANATION, PLAN, STATISTICS, RemoteCorpus
from store.search.result import Result
from store.search.sample_batches import MEDIA, Batcher, checked_ids, media_path
from store.search.search import Searchable
from store.search.statistics import Statistics
from store.search.wire import read_arrow
from store.tables.releases import Release


class AsyncRemoteCorpus(Searchable[AsyncSearch]):
    """A corpus on a server, for asyncio. `isotrope.connect_async("http://...")` makes it.

    The arguments are those of `RemoteCorpus`.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        space: str | None = None,
        number: int | None = None,
    ):
        self._api_key = api_key
        self._server = AsyncConnection(Address(url, api_key, space, number))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.address.url!r})"

    async def release(self) -> Release:
        """The release that the server serves, without the configuration of its space."""
        return self._server.address.release(json.loads(await self._server.send("GET", "/release")))

    async def refresh(self) -> Self:
        """Returns the corpus as it is: searches and `release` always use the server's release."""
        return self

    async def run(self, query: Query) -> Result:
        """Run a query on the server. See `RemoteCorpus.run`."""
        request = self._server.address.post(query)
        content = await self._server.send("POST", "/search", Waits(query.seconds), **request)
        result, release = read_arrow(content)

        def cards(count: int) -> list[Card]:
            # A notebook asks for a view without waiting.
            with RemoteCorpus(self._server.address.url, self._api_key) as corpus:
                return corpus.cards(query.release(release), result.rows.slice(0, count))

        return replace(result, read_cards=cards)

    async def plan(self, query: Query) -> Plan:
        """What a query will do. See `Search.explain`."""
        request = self._server.address.post(query)
        return PLAN.validate_json(await self._server.send("POST", "/plan", **request))

    async def explain_row(self, query: Query, row: int) -> Explanation:
        """Run a query on the server and explain a row. See `Result.explain`."""
        request = self._server.address.post(query)
        content = await self._server.send("POST", "/explain", params={"row": row}, **request)
        return EXPLANATION.validate_json(content)

    async def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return json.loads(await self._server.send("GET", f"/samples/{check_id(sample_id)}"))

    async def samples(self, ids: Sequence[str]) -> AsyncIterator[pa.Table]:
        """Stream samples with their media. See `RemoteCorpus.samples`."""
        batcher = Batcher()
        for each in checked_ids(ids):
            row = await self.sample(each)
            for modality in MEDIA:
                path = media_path(row, modality)
                row[modality] = await self._server.send("GET", path) if path else None
            if (full := batcher.add(row)) is not None:
                yield full
        if (last := batcher.rest()) is not None:
            yield last

    def subset(self, query: Query) -> AsyncSubset:
        """The samples of a query's result, to stream. An export needs the folder of the corpus."""
        return AsyncSubset(self, query.value, None)

    async def statistics(self) -> Statistics:
        """Measure the galleries. See `store.search.statistics.describe_galleries`."""
        return STATISTICS.validate_json(await self._server.send("GET", "/statistics"))

    async def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return await self._server.send("GET", f"/thumbnails/{check_id(part_id)}")

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _bind(self, query: Query) -> AsyncSearch:
        return AsyncSearch(query.inputs, query.is_batch, runner=self)
