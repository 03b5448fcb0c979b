"""Who may use the server: keys, rates, hosts, addresses, and what every answer's headers say."""

import asyncio
import json
import socket
import stat
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from orchestration.server.keys import KeyFile
from store import errors
from store.config.server import Server
from store.search import connection
from tests.helpers.served import served

TEXT = {"inputs": [{"text": "a red square number 15"}]}


def test_a_key_is_stored_as_a_hash_only(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.create("reports")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert secret not in file.path.read_text()
    assert secret.removeprefix("isotrope_") not in file.path.read_text()
    assert file.name_of(secret) == "reports"
    for wrong in ("", secret[:-1], secret + "x", file.keys[0].sha256, "é", "\ud800"):
        assert file.name_of(wrong) is None
    with pytest.raises(errors.InputError, match="already"):
        file.create("reports")
    other = KeyFile(file.path)
    other.refresh()
    other.revoke("reports")
    file.refresh()
    assert file.name_of(secret) is None
    with pytest.raises(errors.NotFoundError, match="keys: none"):
        other.revoke("reports")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": [{}]}',
        b'{"keys": [{"name": 1}]}',
        b"\xff",
        b'{"keys": 3}',
        b'{"keys": [{"name": "a", "sha256": "00", "created_at": ""}]}',
    ],
)
def test_a_file_that_is_no_file_of_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(errors.ConfigError, match="--new-key"):
        KeyFile(path).refresh()


def test_every_path_but_health_needs_a_key(corpus_folder: Path) -> None:
    secret = KeyFile(corpus_folder / "server-keys.json").create("reports")
    with served(corpus_folder) as running, httpx.Client(base_url=running.url) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 200
        paths = ["/release", "/metrics", f"/samples/{'0' * 32}", f"/thumbnails/{'0' * 32}"]
        for path in [*paths, f"/audio/{'0' * 32}"]:
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("", "Bearer", "Bearer x", f"Basic {secret}", f"Bearer {secret}x"):
            answer = client.post("/search", json=TEXT, headers={"authorization": wrong})
            assert answer.status_code == 401, wrong
        allowed = client.post("/search", json=TEXT, headers={"authorization": f"Bearer {secret}"})
        assert allowed.status_code == 200
        with pytest.raises(errors.AccessError, match="API key"):
            isotrope.connect(running.url).search(text="x").to_list()
        assert len(isotrope.connect(running.url, api_key=secret).search(text="x").to_list()) == 10


def test_a_revoked_key_is_refused_by_a_running_server(corpus_folder: Path) -> None:
    keys = KeyFile(corpus_folder / "server-keys.json")
    secret = keys.create("reports")
    with served(corpus_folder, Server(reload_seconds=0.05), required=True) as running:
        corpus = isotrope.connect(running.url, api_key=secret)
        assert corpus.release.number == 1
        keys.revoke("reports")
        while keys.name_of(secret) or running.service.keys.keys:
            time.sleep(0.01)
        with pytest.raises(errors.AccessError):
            corpus.search(text="x").to_list()


def test_a_key_that_sends_too_much_is_slowed_down(
    corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyFile(corpus_folder / "server-keys.json")
    fast, slow = keys.create("fast"), keys.create("slow")
    settings = Server(requests_per_second=0.5, burst=3)
    with served(corpus_folder, settings) as running, httpx.Client(base_url=running.url) as client:

        def status(secret: str) -> httpx.Response:
            return client.get("/release", headers={"authorization": f"Bearer {secret}"})

        answers = [status(fast) for _ in range(5)]
        assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
        assert status(slow).status_code == 200  # the limit of one key is not that of another
        # A client waits as long as the server says, and then has its answer.
        assert isotrope.connect(running.url, api_key=fast).release.number == 1
        assert status(fast).status_code == 429
        monkeypatch.setattr(connection, "MAX_WAIT", 0)
        with pytest.raises(errors.BusyError, match="fast"):
            isotrope.connect(running.url, api_key=fast).release  # noqa: B018
        monkeypatch.undo()
        with pytest.raises(errors.BusyError, match="fast"):  # the timeout ends before the wait
            isotrope.connect(running.url, api_key=fast).search(text="x").timeout(0.1).to_list()

        async def search() -> int:
            async with isotrope.connect_async(running.url, api_key=fast) as corpus:
                return len(await corpus.search(text="x").to_list())

        assert asyncio.run(search()) == 10


def test_names_of_other_sites_are_refused(server) -> None:
    for host, status in [
        ("localhost", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 400),
        ("localhost.attacker.example", 400),
    ]:
        assert httpx.get(f"{server.url}/release", headers={"host": host}).status_code == status
        assert httpx.get(f"{server.url}/ready", headers={"host": host}).status_code == 200


def test_no_other_site_may_read_answers(server) -> None:
    headers = {"origin": "https://attacker.example", "access-control-request-method": "POST"}
    for answer in (
        httpx.options(f"{server.url}/search", headers=headers),
        httpx.post(f"{server.url}/search", json=TEXT, headers=headers),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_large_bodies_are_refused_before_they_are_read(corpus_folder: Path) -> None:
    settings = Server(json_bytes=1000, upload_bytes=3000)
    with served(corpus_folder, settings) as running, httpx.Client(base_url=running.url) as client:
        json_type = {"content-type": "application/json"}
        large = client.post("/search", content=b" " * 1001, headers=json_type)
        assert large.status_code == 413
        assert "1,000 bytes" in large.json()["error"]["message"]
        parts = (b" " * 100 for _ in range(100))  # without a Content-Length
        assert client.post("/search", content=parts, headers=json_type).status_code == 413
        query = json.dumps(TEXT)
        for size, status in ((2000, 422), (4000, 413)):
            answer = client.post("/search", data={"query": query}, files={"image": b"x" * size})
            assert answer.status_code == (200 if status == 422 else status), answer.text
        assert client.post("/search", json=TEXT).status_code == 200
        assert running.service.queue.inside == 0


def test_endless_headers_are_refused(server) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        header = b"x: " + b"y" * (1 << 16) + b"\r\n"
        with pytest.raises(ConnectionError):
            connection.sendall(1000 * header)
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_an_answer_has_a_largest_number_of_rows(corpus_folder: Path) -> None:
    with served(corpus_folder, Server(rows=20)) as running:
        corpus = isotrope.connect(running.url)
        assert len(corpus.search(text=["x", "y"]).limit(10).to_list()) == 20
        with pytest.raises(errors.InputError, match="at most 20 rows"):
            corpus.search(text=["x", "y", "z"]).limit(10).to_list()


def test_the_command_makes_keys_and_asks_for_one(corpus_folder: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["serve", "--corpus", str(corpus_folder), *words])
        return result.exit_code, result.output

    code, output = run("--host", "0.0.0.0")
    assert code == 1
    assert "--new-key" in output
    code, output = run("--new-key", "reports")
    assert code == 0
    secret = output.splitlines()[0]
    keys = KeyFile(corpus_folder / "server-keys.json")
    keys.refresh()
    assert keys.name_of(secret) == "reports"
    assert run("--revoke-key", "nobody")[0] == 1
    assert run("--revoke-key", "reports")[0] == 0
    assert run("--host", "0.0.0.0")[0] == 1


def test_wrong_settings_name_the_line(corpus_folder: Path) -> None:
    config = corpus_folder / "corpus.yaml"
    config.write_text(config.read_text() + "server: {threads: 0}\n")
    result = CliRunner().invoke(main, ["serve", "--corpus", str(corpus_folder)])
    assert result.exit_code == 1
    assert "threads" in result.output
