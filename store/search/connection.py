"""Connections to `isotrope serve`: requests, their answers, and what to do if a server is busy."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from store.errors import InputError, IsotropeError, ServerError
from store.search.query import Query
from store.search.release_json import from_description
from store.search.wire import ARROW, JSON, read_error
from store.tables.releases import Release

TIMEOUT = 60.0  # seconds, of one request
RETRIES = 5  # of a request that a busy server refuses
MAX_WAIT = 30.0  # seconds, between all tries of one request together
_CONNECTIONS = 64  # that are kept open


class Address:
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
        return {"content": query.to_json(packed=True).encode(), "headers": headers}

    def release(self, described: Mapping[str, Any]) -> Release:
        """The release that a server describes. Raises InputError if it is of another space."""
        release = from_description(described)
        if self.space not in (None, release.space):
            raise InputError(f"{self.url} serves the space {release.space!r}, not {self.space!r}")
        return release


class Waits:
    """How long to wait before a refused request is sent again, until the bounds are reached.

    Args:
        seconds: the most seconds of all waits together.
    """

    def __init__(self, seconds: float | None = None):
        self._left = min(MAX_WAIT, MAX_WAIT if seconds is None else seconds)
        self._tries = RETRIES

    def before_retry(self, response: httpx.Response) -> float | None:
        """The seconds that the server's `Retry-After` names. None: do not send it again."""
        named = response.headers.get("retry-after", "")
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS or not named.isdecimal():
            return None
        seconds = float(named)
        if not self._tries or seconds > self._left:
            return None
        self._tries -= 1
        self._left -= seconds
        return seconds


class Connection:
    """Sends requests to a server. A request that a busy server refuses is sent again later."""

    def __init__(self, address: Address):
        self.address = address
        self._client = httpx.Client(**address.options)

    def send(self, method: str, path: str, waits: Waits | None = None, **request: Any) -> bytes:
        """The body of the answer.

        Raises:
            IsotropeError: what the server answers; ServerError if it does not answer; BusyError if
                it stays busy.
        """
        response = self.answer(self._client.build_request(method, path, **request), waits)
        return content(response)

    def read_up_to(self, path: str, max_bytes: int) -> httpx.Response | None:
        """A successful answer. None if it says that it is larger; then it is not read."""
        response = self.answer(self._client.build_request("GET", path), stream=True)
        try:
            if int(response.headers.get("content-length", 0)) > max_bytes:
                return None
            response.read()
        except httpx.HTTPError as error:
            raise _unreachable(self.address, error) from error
        finally:
            response.close()
        content(response)
        return response

    def answer(
        self, request: httpx.Request, waits: Waits | None = None, stream: bool = False
    ) -> httpx.Response:
        """The answer to a request, whatever its status. Raises ServerError if there is none."""
        waits = waits or Waits()
        while True:
            if self._client.is_closed:
                raise _closed()
            try:
                response = self._client.send(request, stream=stream)
            except httpx.HTTPError as error:
                raise _unreachable(self.address, error) from error
            seconds = waits.before_retry(response)
            if seconds is None:
                return response
            response.close()
            time.sleep(seconds)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncConnection:
    """`Connection` for asyncio."""

    def __init__(self, address: Address):
        self.address = address
        self._client = httpx.AsyncClient(**address.options)

    async def send(
        self, method: str, path: str, waits: Waits | None = None, **request: Any
    ) -> bytes:
        """The body of the answer. See `Connection.send`."""
        waits = waits or Waits()
        while True:
            if self._client.is_closed:
                raise _closed()
            try:
                response = await self._client.request(method, path, **request)
            except httpx.HTTPError as error:
                raise _unreachable(self.address, error) from error
            seconds = waits.before_retry(response)
            if seconds is None:
                return content(response)
            await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def content(response: httpx.Response) -> bytes:
    """The body of a successful answer. Raises the error that another answer describes."""
    if response.status_code != httpx.codes.OK:
        raise read_error(response.status_code, response.content)
    return response.content


def _closed() -> IsotropeError:
    return InputError("the corpus is closed: connect again")


def _unreachable(address: Address, error: httpx.HTTPError) -> IsotropeError:
    return ServerError(f"{address.url} does not answer: {type(error).__name__} {error}".rstrip())
