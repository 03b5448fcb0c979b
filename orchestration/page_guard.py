"""Run Dagster's page so that it answers its own pages only.

Dagster's page has no authentication and executes GraphQL mutations from the parameters of a URL, so
any web page in the user's browser could launch runs: by a request to 127.0.0.1, or by a name that
resolves to 127.0.0.1 (DNS rebinding). The guard checks the headers that browsers send and pages
cannot change: Host, Origin and Sec-Fetch-Site. Dagster has no option for it.
"""

import ipaddress
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOSTS = "ISOTROPE_PAGE_HOSTS"  # environment variable: more allowed names, divided by commas
_ROOT = str(Path(__file__).resolve().parents[1])
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[Any, Any, _Send], Awaitable[None]]


class Guard:
    """An ASGI application that refuses requests of other web pages before `app` gets them.

    Args:
        app: the application.
        hosts: allowed names in the Host header, besides localhost and IP addresses.
    """

    def __init__(self, app: _App, hosts: Collection[str]):
        self.app = app
        self.hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: _Send) -> None:
        reason = None
        if scope["type"] in ("http", "websocket"):
            headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
            reason = refusal(headers, scope["path"], self.hosts)
        if reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            content_type = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": content_type})
            await send({"type": "http.response.body", "body": reason.encode()})


def refusal(headers: list[tuple[str, str]], path: str, hosts: Collection[str]) -> str | None:
    """Why a request is refused, or None.

    Args:
        headers: names in small letters, and values.
        path: of the request.
        hosts: allowed names.
    """
    values = dict(headers)
    host = values.get("host", "")
    if [name for name, _ in headers].count("host") != 1 or not _is_allowed(host, hosts):
        return f"the host {host!r} is not allowed: start isotrope dev with --allow-host NAME\n"
    origin = values.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"a page of {origin!r} may not use this one\n"
    # A link to a page is harmless; a URL of GraphQL can launch a run.
    site = values.get("sec-fetch-site", "none")
    if path.rstrip("/").endswith("graphql") and site not in ("none", "same-origin"):
        return "a page of another site may not use this one\n"
    return None


def command(entry: str) -> list[str]:
    """Python's arguments to call a function of this module, wherever the process starts."""
    # Appended, so that installed packages cannot hide modules of Python itself.
    code = f"import sys; sys.path.append({_ROOT!r}); from orchestration.page_guard import {entry}"
    return ["-c", f"{code}; {entry}()"]


def dagster_dev() -> None:
    """`dagster dev`, whose web server is `web_server`."""
    from dagster._cli import dev, main

    start = dev.open_ipc_subprocess

    def start_guarded(arguments: Any, **options: Any) -> Any:
        if list(arguments[1:3]) == ["-m", "dagster_webserver"]:
            arguments = [arguments[0], *command("web_server"), *arguments[3:]]
        return start(arguments, **options)

    dev.open_ipc_subprocess = start_guarded  # type: ignore[assignment]
    main()


def web_server() -> None:
    """`dagster-webserver`, guarded."""
    from dagster_webserver.cli import main
    from dagster_webserver.webserver import DagsterWebserver

    make = DagsterWebserver.create_asgi_app
    hosts = [host for host in os.environ.get(HOSTS, "").split(",") if host]

    def make_guarded(*arguments: Any, **options: Any) -> Any:
        return Guard(make(*arguments, **options), hosts)

    DagsterWebserver.create_asgi_app = make_guarded  # type: ignore[method-assign]
    sys.argv[0] = "dagster-webserver"
    main()


def _is_allowed(host: str, hosts: Collection[str]) -> bool:
    """An IP address is always allowed: DNS rebinding needs a name."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in hosts
    return True
