"""Clients of `isotrope serve`: the words of a corpus, answered over HTTP."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self

import httpx
import pyarrow as pa
from pydantic import TypeAdapter

from store.errors import InputError, IsotropeError, ServerError
from store.identity import check_id
from store.search.asynchronous import AsyncSearch
from store.search.cards import CARD_COLUMNS, MAX_RECORDING, Card
from store.search.explain import Explanation
from store.search.query import Query
from store.search.release_items import Original
from store.search.release_json import from_description
from store.search.result import Result
from store.search.search import Search, Searchable
from store.search.wire import ARROW, JSON, read_arrow, read_error
from store.tables.lance_tables import one_of
from store.tables.releases import Release
from store.tables.schema import MODALITIES

TIMEOUT = 60.0  # seconds, of one request
_CONNECTIONS = 64  # that are kept open
_EXPLANATION = TypeAdapter(Explanation)


class _Address:
    """The address of a server, and how requests to it are made and answers are read."""

    def __init__(self, url: str, api_key: str | None, space: str | None, number: int | None):
        self.url = url.rstrip("/")
        self.space = space
        self.number = number
        self.options: dict[str, Any] = {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {api_key}"} if api_key else {},
            "timeout": TIMEOUT,
            "limits": httpx.Limits(max_keepalive_connections=_CONNECTIONS),
        }

    def post(self, query: Query) -> dict[str, Any]:
        """The content and headers of a request that runs a query."""
        if self.number is not None and query.number is None:
            query = replace(query, number=self.number)
        headers = {"Content-Type": JSON, "Accept": ARROW}
        return {"content": query.to_json().encode(), "headers": headers}

    def release(self, described: Mapping[str, Any]) -> Release:
        """The release that a server describes. Raises InputError if it is of another space."""
        release = from_description(described)
        if self.space not in (None, release.space):
            raise InputError(f"{self.url} serves the space {release.space!r}, not {self.space!r}")
        return release


def _content(response: httpx.Response) -> bytes:
    """The body of a successful answer. Raises the error that another answer describes."""
    if response.status_code != httpx.codes.OK:
        raise read_error(response.status_code, response.content)
    return response.content


def _closed() -> IsotropeError:
    return InputError("the corpus is closed: connect again")


def _unreachable(url: str, error: httpx.HTTPError) -> IsotropeError:
    return ServerError(f"{url} does not answer: {type(error).__name__} {error}".rstrip())


class RemoteCorpus(Searchable[Search]):
    """A corpus on a server. `isotrope.connect("http://...")` makes it. Threads may share it.

    Args:
        url: of the server.
        api_key: that the server has given out.
        space: raise InputError if the server serves another one.
        number: of the release to search. None: the one that the server serves at the time.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        space: str | None = None,
        number: int | None = None,
    ):
        self._address = _Address(url, api_key, space, number)
        self._client = httpx.Client(**self._address.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.url!r})"

    @cached_property
    def release(self) -> Release:
        """The release that the server serves, without the configuration of its space."""
        return self._address.release(json.loads(self._send("GET", "/release")))

    def refresh(self) -> Self:
        """Read `release` anew when it is next used. Searches always use the server's release."""
        self.__dict__.pop("release", None)
        return self

    def run(self, query: Query) -> Result:
        """Run a query on the server.

        Raises:
            IsotropeError: see `Search.run`; AccessError, BusyError, ServerError.
        """
        request = self._address.post(query)
        result, release = read_arrow(self._send("POST", "/search", **request))

        def cards(count: int) -> list[Card]:
            return self._cards(query.release(release), result.rows.slice(0, count))

        explain_row = partial(self._explain, request)
        return replace(result, explain_row=explain_row, read_cards=cards)

    def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return json.loads(self._send("GET", f"/samples/{check_id(sample_id)}"))

    def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return self._send("GET", f"/thumbnails/{check_id(part_id)}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bind(self, query: Query) -> Search:
        return Search(query.inputs, query.is_batch, runner=self)

    def _explain(self, request: Mapping[str, Any], row: int) -> Explanation:
        content = self._send("POST", "/explain", params={"row": row}, **request)
        return _EXPLANATION.validate_json(content)

    def _cards(self, query: Query, rows: pa.Table) -> list[Card]:
        """The cards of rows of a query's result, in one search and a request for each recording."""
        ids = one_of("id", rows["id"].to_pylist())
        alone = Query(query.inputs[:1], gallery=query.gallery, number=query.number)
        found = alone.correct("none").where(ids).select("part_id", *CARD_COLUMNS)
        cards = {}
        for row in self.run(found.limit(len(MODALITIES) * rows.num_rows)).rows.to_pylist():
            card = Card(row["key"], row["caption"], row["thumbnail"])
            if row["modality"] == "audio":
                card = card._replace(recording=self._recording(row["part_id"]))
            cards[row["modality"], row["id"]] = card
        keys = zip(rows["modality"].to_pylist(), rows["id"].to_pylist(), strict=True)
        return [cards.get(key, Card(key[1])) for key in keys]

    def _recording(self, part_id: str) -> Original | None:
        """A recording. None if it is too large for a view; then it is not read."""
        if self._client.is_closed:
            raise _closed()
        try:
            with self._client.stream("GET", f"/audio/{check_id(part_id)}") as response:
                if int(response.headers.get("content-length", 0)) > MAX_RECORDING:
                    return None
                response.read()
                return Original(_content(response), response.headers.get("content-type", ""))
        except httpx.HTTPError as error:
            raise _unreachable(self._address.url, error) from error

    def _send(self, method: str, path: str, **request: Any) -> bytes:
        if self._client.is_closed:
            raise _closed()
        try:
            return _content(self._client.request(method, path, **request))
        except httpx.HTTPError as error:
            raise _unreachable(self._address.url, error) from error


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
        self._address = _Address(url, api_key, space, number)
        self._api_key = api_key
        self._client = httpx.AsyncClient(**self._address.options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.url!r})"

    async def release(self) -> Release:
        """The release that the server serves, without the configuration of its space."""
        return self._address.release(json.loads(await self._send("GET", "/release")))

    async def refresh(self) -> Self:
        """Returns the corpus as it is: searches and `release` always use the server's release."""
        return self

    async def run(self, query: Query) -> Result:
        """Run a query on the server. See `RemoteCorpus.run`."""
        content = await self._send("POST", "/search", **self._address.post(query))
        result, release = read_arrow(content)

        def cards(count: int) -> list[Card]:
            # A notebook asks for a view without waiting.
            with RemoteCorpus(self._address.url, self._api_key) as corpus:
                return corpus._cards(query.release(release), result.rows.slice(0, count))

        return replace(result, read_cards=cards)

    async def explain(self, query: Query, row: int) -> Explanation:
        """Run a query on the server and explain a row. See `Result.explain`."""
        request = self._address.post(query)
        content = await self._send("POST", "/explain", params={"row": row}, **request)
        return _EXPLANATION.validate_json(content)

    async def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return json.loads(await self._send("GET", f"/samples/{check_id(sample_id)}"))

    async def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return await self._send("GET", f"/thumbnails/{check_id(part_id)}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _bind(self, query: Query) -> AsyncSearch:
        return AsyncSearch(query.inputs, query.is_batch, runner=self)

    async def _send(self, method: str, path: str, **request: Any) -> bytes:
        if self._client.is_closed:
            raise _closed()
        try:
            return _content(await self._client.request(method, path, **request))
        except httpx.HTTPError as error:
            raise _unreachable(self._address.url, error) from error
