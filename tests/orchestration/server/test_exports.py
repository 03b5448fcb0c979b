"""Exports over HTTP: files, progress, one at a time, cancelled, failed; off by default."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from orchestration.server.admission import OverloadedError
from orchestration.server.exports import folder_bytes
from orchestration.server.keys import KeyFile
from store.workspace import Workspace
from tests.helpers.served import Served, served

call = partial(httpx.request, timeout=60)  # the machine may be busy
QUERY = {"inputs": [{"text": "a red square"}], "among": "image", "limit": 6}
ORDER = {"query": QUERY, "format": "webdataset"}


class Exporting(NamedTuple):
    """A server that exports, and the folder that it exports to."""

    url: str
    folder: Path


@pytest.fixture(scope="module")
def exporting(stored: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporting]:
    folder = tmp_path_factory.mktemp("exports")
    with served(stored.root, exports=folder) as running:
        yield Exporting(running.url, folder)


def ended(url: str, started: httpx.Response) -> dict[str, Any]:
    """The job that was started, once it does not run any more."""
    assert started.status_code == 202, started.text
    while True:
        job = call("GET", f"{url}/exports/{started.json()['id']}").json()
        if job["state"] != "running":
            return job
        time.sleep(0.05)


@pytest.mark.parametrize(
    "format_",
    ["webdataset", *(pytest.param(each, marks=pytest.mark.slow) for each in ("parquet", "lance"))],
)
def test_the_samples_of_a_query_are_exported(exporting: Exporting, format_: str) -> None:
    rows = call("POST", f"{exporting.url}/search", json=QUERY).json()["rows"]
    order = {"query": QUERY, "format": format_}
    job = ended(exporting.url, call("POST", f"{exporting.url}/exports", json=order))
    assert (job["state"], job["error"], job["format"]) == ("done", None, format_)
    assert job["samples"] == len({row["id"] for row in rows}) == 6
    files = [path for path in (exporting.folder / job["id"]).rglob("*") if path.is_file()]
    assert 0 < job["expected_bytes"] < sum(path.stat().st_size for path in files)
    assert (exporting.folder / job["id"] / "isotrope.json").is_file()
    assert call("GET", f"{exporting.url}/exports").json()[0] == job
    assert call("DELETE", f"{exporting.url}/exports/{job['id']}").json() == job
    assert (exporting.folder / job["id"]).is_dir()


def test_bytes_are_counted_while_folders_come_and_go(tmp_path: Path) -> None:
    """A job that is polled just when its export removes its staging fell with a 500."""
    (tmp_path / "kept").write_bytes(bytes(7))
    end = threading.Event()

    def come_and_go() -> None:
        while not end.is_set():
            for name in map(str, range(20)):
                (tmp_path / name / "staging").mkdir(parents=True)
                (tmp_path / name / "staging" / "part").write_bytes(bytes(5))
            for name in map(str, range(20)):
                shutil.rmtree(tmp_path / name)

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        counts = [folder_bytes(tmp_path) for _ in range(500)]
    finally:
        end.set()
        writer.join()
    assert all((count - 7) % 5 == 0 for count in counts)
    assert folder_bytes(tmp_path) == 7


def test_one_export_runs_and_can_be_cancelled(exporting: Exporting) -> None:
    exports = f"{exporting.url}/exports"
    first = call("POST", exports, json=ORDER)
    second = call("POST", exports, json=ORDER)
    assert second.status_code == 429
    assert int(second.headers["retry-after"]) > 0
    assert call("GET", exports).json()[0]["state"] == "running"
    name = first.json()["id"]
    assert call("DELETE", f"{exports}/{name}").json()["state"] == "cancelled"
    assert not (exporting.folder / name).exists()
    third = call("POST", exports, json=ORDER)
    assert third.status_code == 202
    assert call("DELETE", f"{exports}/{third.json()['id']}").json()["bytes"] == 0
    refused = 'isotrope_refused_total{reason="export"} 1.0'
    assert refused in call("GET", f"{exporting.url}/metrics").text


def test_it_runs_until_its_files_are_removed(
    stored: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.server.exports._END", 1)
    with served(stored.root, exports=tmp_path) as running:
        name = call("POST", f"{running.url}/exports", json=ORDER).json()["id"]
        exports = running.service.exports
        assert exports is not None
        assert exports._process is not None
        os.kill(exports._process.pid, signal.SIGSTOP)  # it does not end when it is told to
        cancelling = threading.Thread(target=exports.cancel, args=(name,))
        cancelling.start()
        time.sleep(0.3)
        assert exports.get(name).state == "running"
        with pytest.raises(OverloadedError):
            exports.check_idle()
        cancelling.join()
        assert exports.get(name).state == "cancelled"
        assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_server_cancels(stored: Workspace, tmp_path: Path) -> None:
    with served(stored.root, exports=tmp_path / "new" / "exports") as running:
        assert call("POST", f"{running.url}/exports", json=ORDER).status_code == 202
        service = running.service
    assert service.exports is not None
    assert [job.state for job in service.exports.jobs()] == ["cancelled"]
    assert list((tmp_path / "new" / "exports").iterdir()) == []


@pytest.mark.slow
def test_a_failed_export_says_why_and_leaves_nothing(corpus_folder: Path, tmp_path: Path) -> None:
    Workspace.open(corpus_folder).tables.open("decisions").update({"keep": "false"})
    with served(corpus_folder, exports=tmp_path / "exports") as running:
        job = ended(running.url, call("POST", f"{running.url}/exports", json=ORDER))
    assert job["state"] == "failed"
    assert "do not keep 6 of the samples" in job["error"]
    assert list((tmp_path / "exports").iterdir()) == []


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({**ORDER, "format": "zip"}, "webdataset, parquet, lance"),
        ({**ORDER, "format": ["parquet"]}, "webdataset, parquet, lance"),
        ({**ORDER, "folder": "/etc"}, "no more"),
        ({"format": "parquet"}, "no more"),
        ([ORDER], "no more"),
        ({**ORDER, "query": {"inputs": []}}, "inputs"),
        ({**ORDER, "query": "x"}, "query"),
        ({**ORDER, "query": {**QUERY, "where": "key = 'none'"}}, "nothing to export"),
        ({**ORDER, "query": {**QUERY, "limit": 10**9}}, "limit"),
        ({**ORDER, "ids": ["0" * 32]}, "either `query` or `ids`"),
        ({"ids": [], "format": "lance"}, "1 to 10,000 samples"),
        ({"ids": ["0" * 32] * 10_001, "format": "lance"}, "1 to 10,000 samples"),
        ({"ids": [[]], "format": "lance"}, "1 to 10,000 samples"),
        ({"ids": ["x' OR 1=1"], "format": "lance"}, "is not an id"),
        ({"ids": ["0" * 32], "format": "lance"}, "has 0 of the 1 samples"),
    ],
)
def test_wrong_orders_are_refused(exporting: Exporting, order: object, message: str) -> None:
    answer = call("POST", f"{exporting.url}/exports", json=order)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


def test_pages_of_other_sites_start_nothing(exporting: Exporting) -> None:
    """They can send no JSON without asking first, and get no leave to."""
    body = httpx.Request("POST", exporting.url, json=ORDER).content
    for headers in ({"content-type": "text/plain"}, {}):
        answer = call("POST", f"{exporting.url}/exports", content=body, headers=headers)
        assert answer.status_code == 422
    for name in ("../x", "%2e%2e", "20260101-000000-0000000g"):
        assert call("GET", f"{exporting.url}/exports/{name}").status_code in (404, 422)
    assert call("GET", f"{exporting.url}/exports/20260101-000000-00000000").status_code == 404


def test_it_is_off_by_default(server: Served) -> None:
    job = f"{server.url}/exports/20260101-000000-00000000"
    answers = [
        call("POST", f"{server.url}/exports", json=ORDER),
        *(call("GET", url) for url in (f"{server.url}/exports", job)),
        call("DELETE", job),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert "--exports" in answer.json()["error"]["message"]


def test_it_needs_a_key_where_there_are_keys(corpus_folder: Path, tmp_path: Path) -> None:
    secret = KeyFile(corpus_folder / "server-keys.json").create("reports")
    with served(corpus_folder, exports=tmp_path / "exports") as running:
        url = f"{running.url}/exports"
        assert call("POST", url, json=ORDER).status_code == 401
        assert call("GET", url).status_code == 401
        assert call("GET", url, headers={"authorization": f"Bearer {secret}"}).json() == []
