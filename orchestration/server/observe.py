"""ASGI middleware around every request: size limits, security headers, metrics, the access log."""

import logging
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.json_logs import FIELDS
from orchestration.server.metrics import Metrics
from store.errors import IsotropeError

_access = logging.getLogger("isotrope.access")
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class BodyTooLargeError(IsotropeError):
    """The body of a request is larger than the server reads."""


class Observe:
    """Limits the body, and records each request when its answer has been sent.

    The access log has neither the query nor the address's parameters.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: Callable[[Headers], int]):
        self.app = app
        self.metrics = metrics
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        status = 500
        sent = received = 0
        limit = self.max_bytes(headers)

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                self.metrics.refused.labels("size").inc()
                raise BodyTooLargeError(f"the body is larger than {limit:,} bytes")
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    answer.setdefault(name, value)
                answer["X-Request-ID"] = request_id
                if received < _declared(headers):
                    answer["Connection"] = "close"  # the rest of the body is not read
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive_within_limit, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, status).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            line = {
                "id": request_id,
                "client": scope["client"][0] if scope.get("client") else None,
                "key": state.get("key"),
                "method": scope["method"],
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 2),
                "received": received,
                "sent": sent,
            }
            _access.info("request", extra={FIELDS: line})


def _declared(headers: Headers) -> int:
    value = headers.get("content-length", "")
    return int(value) if value.isdecimal() else 0
