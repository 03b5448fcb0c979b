"""Dagster's page answers its own pages only: no DNS rebinding, no requests of other sites."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration import dagster_web, page_guard
from store.workspace import Workspace
from tests.helpers.corpus import deliver, write_config
from tests.helpers.deployment import Deployment, dev_page

HOSTS = {"localhost", "lab.example"}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:3000"},
        {"host": "localhost:3000"},
        {"host": "[::1]:3000"},
        {"host": "192.0.2.7"},
        {"host": "LAB.example:80"},
        {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3000"},
        {"host": "lab.example", "origin": "https://lab.example", "sec-fetch-site": "same-origin"},
        {"host": "localhost:3000", "sec-fetch-site": "none"},
    ],
)
def test_own_requests_are_allowed(headers: dict[str, str]) -> None:
    assert page_guard.refusal(list(headers.items()), "/graphql", HOSTS) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "evil.example:3000"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "127.0.0.1@evil.example"},
        {"host": "[::1"},
        {"host": "127.0.0.1:3000", "origin": "http://evil.example"},
        {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:4000"},
        {"host": "127.0.0.1:3000", "origin": "null"},
        {"host": "127.0.0.1:3000", "sec-fetch-site": "cross-site"},
        {"host": "127.0.0.1:3000", "sec-fetch-site": "same-site"},
    ],
)
def test_requests_of_other_pages_are_refused(headers: dict[str, str]) -> None:
    assert page_guard.refusal(list(headers.items()), "/graphql", HOSTS)


def test_two_hosts_are_refused_and_links_are_not() -> None:
    hosts = [("host", "localhost"), ("host", "127.0.0.1")]
    assert page_guard.refusal(hosts, "/", HOSTS)
    link = [("host", "localhost"), ("sec-fetch-site", "cross-site")]
    assert page_guard.refusal(link, "/assets", HOSTS) is None
    assert page_guard.refusal(link, "/graphql/", HOSTS)


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("box", True)],
)
def test_a_warning_where_others_can_reach_the_page(
    tmp_path: Path, monkeypatch, capsys, host: str, warns: bool
) -> None:
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "only", 2)
    monkeypatch.setattr(os, "execv", lambda *_: None)
    monkeypatch.setattr(os, "chdir", lambda _: None)
    for name in ("DAGSTER_HOME", page_guard.HOSTS, dagster_web.VARIABLE):
        monkeypatch.setenv(name, "")  # restored afterwards
    dagster_web.serve(Workspace.open(tmp_path), host, 3000, ("lab.example",))
    assert ("no authentication" in capsys.readouterr().err) == warns
    assert os.environ[page_guard.HOSTS] == f"{host},lab.example"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Deployment]:
    """The real page of a corpus."""
    write_config(tmp_path)
    deliver(tmp_path / "drops" / "only", 2)
    with dev_page(tmp_path, "--allow-host", "lab.example") as running:
        yield running


def ask(port: int, method: str = "POST", **headers: str) -> tuple[int, str]:
    """The status and the body of a GraphQL request; 0 while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"query": "{version}"}) if method == "POST" else None
    path = "/graphql" if body else "/graphql?query=%7Bversion%7D"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **sent})
        response = connection.getresponse()
        return response.status, response.read().decode()
    except ConnectionError:
        return 0, ""
    finally:
        connection.close()


@pytest.mark.slow
def test_the_real_page_is_guarded(page: Deployment) -> None:
    process, port = page.code_location, page.port
    end = time.monotonic() + 240
    while (answer := ask(port))[0] != 200:
        assert process.poll() is None
        assert time.monotonic() < end, answer
        time.sleep(1)
    assert "version" in answer[1]
    assert ask(port, Host="lab.example")[0] == 200
    assert ask(port, "GET")[0] == 200
    status, reason = ask(port, Host="evil.example")
    assert (status, "--allow-host" in reason) == (403, True)
    assert ask(port, Origin="http://evil.example")[0] == 403
    assert ask(port, "GET", Sec_Fetch_Site="cross-site")[0] == 403
    assert upgrade(port, "evil.example") == 403
    assert upgrade(port, f"127.0.0.1:{port}") == 101
    assert listening(process.pid) == {f"127.0.0.1:{port}"}


def upgrade(port: int, host: str) -> int:
    """The status of a request to open a WebSocket."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {
        "Host": host,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    connection.request("GET", "/graphql", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def listening(pid: int) -> set[str]:
    """The addresses where a process and its children listen."""
    code = (
        "import sys, ray, psutil\n"
        f"process = psutil.Process({pid})\n"
        "for each in (process, *process.children(recursive=True)):\n"
        "    for c in each.net_connections('inet'):\n"
        "        if c.status == 'LISTEN': print(f'{c.laddr.ip}:{c.laddr.port}')\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    return set(output.split())
