"""The ASGI application: its routes, its middleware, and how errors become statuses."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from orchestration.server import (
    curation_routes,
    export_routes,
    map_route,
    openapi,
    release_routes,
    search_route,
    status_routes,
)
from orchestration.server.admission import OverloadedError
from orchestration.server.explorer import explorer_routes
from orchestration.server.observe import BodyTooLargeError, Observe
from orchestration.server.service import Service
from orchestration.server.uploads import is_form
from store import errors
from store.errors import IsotropeError, ServerError
from store.search.wire import write_error

_bearer = HTTPBearer(auto_error=False, description="An API key, if the server requires keys.")

# The first class that an error is an instance of. All other errors are the server's own (500).
_STATUSES: list[tuple[type[IsotropeError], int]] = [
    (BodyTooLargeError, 413),
    (OverloadedError, 429),
    (errors.AccessError, 401),
    (errors.QueryTimeoutError, 504),
    (errors.NotFoundError, 404),
    (errors.InputError, 422),
    (errors.EncoderError, 422),
    (errors.MissingPackageError, 501),
]


def make_app(service: Service, hosts: list[str]) -> FastAPI:
    """Build the application.

    Args:
        service: what it serves.
        hosts: the allowed values of the `Host` header. A page of another site could otherwise reach
            a server on the local machine through a name that resolves to it (DNS rebinding).
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        watching = asyncio.create_task(service.watch())
        reloading = _reload_on_signal(service)
        try:
            yield
        finally:
            service.ready = False
            for task in (watching, reloading):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            if service.exports is not None:
                await asyncio.to_thread(service.exports.close)
            service.queue.close()
            service.corpus.close()

    app = FastAPI(
        title="isotrope",
        summary="Search of one corpus of images, texts and recordings",
        description=release_routes.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from other hosts
        redoc_url=None,
    )
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]
    app.state.service = service
    app.include_router(status_routes.router)
    app.include_router(explorer_routes())
    for router in (status_routes.metrics_router, curation_routes.router, export_routes.router):
        app.include_router(router, dependencies=[Depends(_check_key)])
    for router in (search_route.router, release_routes.router, map_route.router):
        app.include_router(router, dependencies=[Depends(_check_key), Depends(_check_release)])
    app.add_exception_handler(IsotropeError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_wrong_parameter)
    app.add_exception_handler(Exception, _answer_unexpected)
    app.add_middleware(TrustedHosts, allowed_hosts=hosts, www_redirect=False)
    app.add_middleware(Observe, metrics=service.metrics, max_bytes=_max_bytes(service))
    return app


class TrustedHosts(TrustedHostMiddleware):
    """Allows any `Host` for the probes, which orchestrators send to the address of a container."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer probes, and requests for the allowed hosts."""
        is_probe = scope["type"] == "http" and scope["path"] in status_routes.PROBES
        await (self.app if is_probe else super().__call__)(scope, receive, send)


def _max_bytes(service: Service) -> Any:
    def limit(headers: Headers) -> int:
        form = is_form(headers.get("content-type", ""))
        return service.settings.upload_bytes if form else service.settings.json_bytes

    return limit


async def _check_key(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Refuse requests without a valid key, and those of a key that sends too many."""
    service: Service = request.app.state.service
    name = service.key_name(credentials.credentials if credentials else None)
    if name is not None:
        request.state.key = name
        try:
            service.rates.take(name)
        except OverloadedError as error:
            service.metrics.refused.labels(error.reason).inc()
            raise


async def _check_release(request: Request) -> None:
    """Answer 404 while the corpus has no release."""
    service: Service = request.app.state.service
    if not service.ready:  # a look at the tables, in a thread, which costs a request milliseconds
        await asyncio.to_thread(service.check_release)


def _reload_on_signal(service: Service) -> asyncio.Task:
    """A task that reloads the release after each SIGHUP."""
    hangup = asyncio.Event()
    with suppress(RuntimeError, NotImplementedError, ValueError):  # not in the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)

    async def wait() -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            await service.reload()

    return asyncio.create_task(wait())


async def _answer_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, IsotropeError)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(write_error(error), status, headers)


async def _answer_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = errors.NotFoundError if error.status_code == 404 else errors.InputError
    return JSONResponse(write_error(kind(str(error.detail))), error.status_code, error.headers)


async def _answer_wrong_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return JSONResponse(write_error(errors.InputError(message)), 422)


async def _answer_unexpected(_: Request, error: Exception) -> JSONResponse:
    """The error's message may name files, so it goes to the log only."""
    return JSONResponse(write_error(ServerError("the server failed; its log says why")), 500)
