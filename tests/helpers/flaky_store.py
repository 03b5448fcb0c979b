"""A proxy in front of an S3 server that fails at random: lost replies, delays, 503 and 429."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REFUSALS = {"503": b"503 Slow Down", "429": b"429 Too Many Requests"}
FAULTS = ("lost reply", "delay", *_REFUSALS)


@dataclass
class FlakyProxy:
    """A running proxy.

    Attributes:
        endpoint: its URL.
        rate: the share of requests that get a fault.
        injected: how many faults of each kind there were.
        methods: the requests that may get a fault; a reply is lost for PUT, POST and DELETE only.
    """

    endpoint: str
    rate: float
    random: random.Random
    injected: Counter[str] = field(default_factory=Counter)

    def fault(self, method: bytes, path: bytes) -> str:
        """A fault for a request, or an empty string. `path` is for tests that replace this."""
        if self.random.random() >= self.rate:
            return ""
        kinds = FAULTS if method in (b"PUT", b"POST", b"DELETE") else FAULTS[1:]
        kind = self.random.choice(kinds)
        self.injected[kind] += 1
        return kind


@contextmanager
def flaky_proxy(endpoint: str, rate: float, seed: int) -> Iterator[FlakyProxy]:
    """A proxy in front of `endpoint` that runs in a thread during a `with` block."""
    target = urlsplit(endpoint)
    proxy = FlakyProxy("", rate, random.Random(seed))
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await _exchange(proxy, target.hostname, target.port, reader, writer):
                pass
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        proxy.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)


async def _exchange(
    proxy: FlakyProxy,
    host: str | None,
    port: int | None,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> bool:
    """Forward one request and its reply; return whether the connection can be used again."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    body = await _body(head, reader)
    method, path, _ = head.split(b" ", 2)
    fault = proxy.fault(method, path)
    if fault in _REFUSALS:
        writer.write(b"HTTP/1.1 " + _REFUSALS[fault] + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return True
    if fault == "delay":
        await asyncio.sleep(proxy.random.uniform(0.02, 0.2))
    upstream_reader, upstream = await asyncio.open_connection(host, port)
    upstream.write(head + body)
    await upstream.drain()
    reply_head = await upstream_reader.readuntil(b"\r\n\r\n")
    has_body = method != b"HEAD" and b" 304 " not in reply_head and b" 204 " not in reply_head
    reply = reply_head + (await _body(reply_head, upstream_reader) if has_body else b"")
    upstream.close()
    if fault == "lost reply":
        return False
    writer.write(reply)
    await writer.drain()
    return b"connection: close" not in reply_head.lower()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    headers = {
        line.partition(b":")[0].lower(): line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")[1:]
    }
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line, 16) + 2)
            body += line + chunk
            if int(line, 16) == 0:
                return body
    return await reader.readexactly(int(headers.get(b"content-length", b"0")))
