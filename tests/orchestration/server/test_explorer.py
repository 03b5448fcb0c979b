"""The page of the explorer as the server sends it: files, headers, keys, hosts, no release yet."""

import re
import time
from pathlib import Path

import httpx
import pytest

import isotrope
from orchestration.server.explorer import BUILT
from orchestration.server.keys import KeyFile
from store.config.server import Server
from tests.helpers.served import Served, served


def test_the_page_and_its_assets_are_served(server: Served) -> None:
    page = httpx.get(server.url, follow_redirects=True)
    assert page.url.path == "/explorer/"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {Path(name).suffix for name in names} == {".js", ".css", ".svg"}
    for name in names:
        asset = httpx.get(f"{server.url}{name}")
        assert asset.status_code == 200
        assert asset.content == (BUILT / name.removeprefix("/explorer/")).read_bytes()
        assert ("immutable" in asset.headers["cache-control"]) == ("/assets/" in name)
    assert "preact" in httpx.get(f"{server.url}/explorer/LICENSES.txt").text


def test_the_page_allows_nothing_from_elsewhere(server: Served) -> None:
    page = httpx.get(f"{server.url}/explorer/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "style=" not in page.text
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page.text) == [""]
    for path in BUILT.rglob("*.[jc]s*"):
        assert not re.findall(r"""(?:fetch|import|url)\(["']?https?:""", path.read_text())


@pytest.mark.parametrize(
    "name",
    ["../server.py", "..%2f..%2fserver%2fapp.py", "%2e%2e/package.json", "//etc/passwd", "x"],
)
def test_only_built_files_are_served(server: Served, name: str) -> None:
    assert httpx.get(f"{server.url}/explorer/{name}").status_code == 404


def test_the_page_needs_no_key_and_its_requests_do(corpus_folder: Path) -> None:
    KeyFile(corpus_folder / "server-keys.json").create("reports")
    with served(corpus_folder) as running:
        assert httpx.get(f"{running.url}/explorer/").status_code == 200
        assert httpx.get(f"{running.url}/columns").status_code == 401


def test_names_of_other_sites_get_no_page(server: Served) -> None:
    for path in ("/", "/explorer/"):
        answer = httpx.get(server.url + path, headers={"host": "attacker.example"})
        assert answer.status_code == 400


def test_a_corpus_without_a_release_is_served_when_it_has_one(corpus_folder: Path) -> None:
    releases = corpus_folder / "tables" / "releases.lance"
    releases.rename(corpus_folder / "moved")
    with served(corpus_folder, Server(reload_seconds=0.05)) as running:
        assert httpx.get(f"{running.url}/explorer/").status_code == 200
        assert httpx.get(f"{running.url}/ready").status_code == 503
        answer = httpx.get(f"{running.url}/release")
        assert answer.status_code == 404
        assert "`isotrope run`" in answer.json()["error"]["message"]
        (corpus_folder / "moved").rename(releases)
        while not running.service.ready:
            time.sleep(0.01)
        assert httpx.get(f"{running.url}/ready").status_code == 200
        assert len(isotrope.connect(running.url).search(text="x").to_list()) == 10
        assert "isotrope_release 1.0" in httpx.get(f"{running.url}/metrics").text
