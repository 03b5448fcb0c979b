"""The server under load: a bounded queue, timeouts, reloads that lose no request, shutdown."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import isotrope
from orchestration.server.admission import OverloadedError, WorkQueue
from store import errors
from store.config.server import Server
from tests.helpers.served import publish_again, served

TEXT = {"inputs": [{"text": "a red square number 15"}], "limit": 3}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_queue_admits_what_it_has_room_for() -> None:
    async def main() -> None:
        queue = WorkQueue(threads=2, queue=3, timeout=30)
        release = threading.Event()

        async def request() -> str:
            async with queue.admit() as place:
                return await place.run(lambda: release.wait(30) and "done")

        running = [asyncio.create_task(request()) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert (queue.inside, queue.waiting) == (5, 3)
        with pytest.raises(OverloadedError) as refused:
            await request()
        assert refused.value.retry_after >= 1
        release.set()
        assert await asyncio.gather(*running) == ["done"] * 5
        assert queue.inside == 0
        queue.close()

    asyncio.run(main())


def test_work_that_times_out_keeps_its_place_until_its_thread_ends() -> None:
    async def main() -> None:
        queue = WorkQueue(threads=1, queue=1, timeout=0.1)
        release = threading.Event()
        started: list[int] = []

        async def request(number: int) -> None:
            def work() -> None:
                started.append(number)
                release.wait(30)

            async with queue.admit() as place:
                await place.run(work)

        with pytest.raises(errors.QueryTimeoutError):
            await request(1)
        assert queue.inside == 1  # its thread still runs
        with pytest.raises(errors.QueryTimeoutError):
            await request(2)  # it waited, and was cancelled
        assert queue.inside == 1
        release.set()
        while queue.inside:
            await asyncio.sleep(0.01)
        assert started == [1]
        queue.close()

    asyncio.run(main())


def test_a_query_may_ask_for_a_shorter_time(corpus_folder: Path, monkeypatch) -> None:
    with served(corpus_folder) as running:
        corpus = isotrope.connect(running.url)
        answer = running.service.answer

        def slow(query):
            time.sleep(0.5)
            return answer(query)

        monkeypatch.setattr(running.service, "answer", slow)
        with pytest.raises(errors.QueryTimeoutError):
            corpus.search(text="x").timeout(0.1).to_list()
        assert len(corpus.search(text="x").timeout(20).to_list()) == 10


@pytest.mark.slow
def test_twice_the_load_is_refused_and_memory_stays(corpus_folder: Path) -> None:
    settings = Server(threads=2, queue=6)
    statuses: list[int] = []
    body = {**TEXT, "where": f"key != '{'x' * 2000}'"}
    with served(corpus_folder, settings) as running:

        async def clients(count: int, requests: int) -> None:
            limits = httpx.Limits(max_connections=count)
            async with httpx.AsyncClient(base_url=running.url, limits=limits, timeout=60) as client:

                async def one() -> None:
                    for _ in range(requests):
                        answer = await client.post("/search", json=body)
                        statuses.append(answer.status_code)
                        if answer.status_code == 429:
                            assert int(answer.headers["retry-after"]) >= 1

                await asyncio.gather(*(one() for _ in range(count)))

        asyncio.run(clients(16, 5))
        before = resident_bytes()
        asyncio.run(clients(16, 25))
        grown = resident_bytes() - before
        metrics = httpx.get(f"{running.url}/metrics").text
        assert running.service.queue.inside == 0
    assert set(statuses) == {200, 429}
    assert statuses.count(200) > 20
    assert grown < 64 << 20
    assert f'isotrope_refused_total{{reason="queue"}} {statuses.count(429)}.0' in metrics


def test_a_reload_under_sixteen_clients_loses_no_request(corpus_folder: Path) -> None:
    settings = Server(reload_seconds=0.05, queue=100)
    stop = threading.Event()
    answers: list[list[dict]] = []
    releases: set[int] = set()
    failures: list[BaseException] = []
    with served(corpus_folder, settings) as running:
        expected = isotrope.open_corpus(corpus_folder).search(text="a red square number 15")
        rows = expected.limit(3).to_list()

        def client() -> None:
            try:
                with httpx.Client(base_url=running.url, timeout=60) as http:
                    while not stop.is_set():
                        answer = http.post("/search", json=TEXT).raise_for_status().json()
                        releases.add(answer["release"])
                        answers.append(answer["rows"])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(16)]
        for thread in threads:
            thread.start()
        tables = isotrope.open_corpus(corpus_folder).tables
        for _ in range(3):
            number = publish_again(tables).number
            while running.service.corpus.release.number != number:
                time.sleep(0.01)
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(answers) > 50
    assert all(answer == rows for answer in answers)
    assert releases == {1, 2, 3, 4}


def test_concurrent_texts_are_encoded_in_batches(corpus_folder: Path) -> None:
    texts = [f"a green square number {n}" for n in range(48)]
    local = isotrope.open_corpus(corpus_folder)
    expected = [local.search(text=text).to_list() for text in texts]
    with served(corpus_folder, Server(threads=8)) as running:

        async def search_all() -> list[list[dict]]:
            async with isotrope.connect_async(running.url) as corpus:
                return await asyncio.gather(*(corpus.search(text=t).to_list() for t in texts))

        assert asyncio.run(search_all()) == expected
        assert running.service.encode.inputs == len(texts)
        metrics = httpx.get(f"{running.url}/metrics").text
        assert "# TYPE isotrope_encoded_inputs_total counter" in metrics
        assert f"isotrope_encoded_inputs_total {len(texts)}.0" in metrics
        assert f"isotrope_encode_batches_total {running.service.encode.batches}.0" in metrics


@pytest.mark.parametrize("damage", ["no rows", "gone"])
def test_a_failed_reload_keeps_the_old_release(corpus_folder: Path, damage: str) -> None:
    with served(corpus_folder, Server(reload_seconds=0.05)) as running:
        corpus = isotrope.connect(running.url)
        rows = corpus.search(text="x").to_list()
        releases = corpus_folder / "tables" / "releases.lance"
        moved = corpus_folder / "moved"
        releases.rename(moved)
        if damage == "no rows":
            releases.mkdir()
        time.sleep(0.3)
        assert corpus.search(text="x").to_list() == rows
        if damage == "no rows":
            releases.rmdir()
        moved.rename(releases)
        assert publish_again(isotrope.open_corpus(corpus_folder).tables).number == 2
        while running.service.corpus.release.number != 2:
            time.sleep(0.01)
        assert (
            'isotrope_reloads_total{outcome="failed"}' in httpx.get(f"{running.url}/metrics").text
        )


def start(folder: Path, *words: str) -> tuple[subprocess.Popen, str]:
    """Start `isotrope serve` on a free port. Returns its address."""
    command = [sys.executable, "-m", "orchestration.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--corpus", str(folder), *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "running on" in line:
            return process, line.split("running on ")[1].split()[0]
    raise AssertionError("the server did not start")


def test_sigterm_answers_what_runs_and_sighup_reloads(corpus_folder: Path) -> None:
    config = corpus_folder / "corpus.yaml"
    config.write_text(config.read_text() + "server: {reload_seconds: 3600}\n")
    process, url = start(corpus_folder)
    try:
        corpus = isotrope.connect(url)
        assert corpus.release.number == 1
        publish_again(isotrope.open_corpus(corpus_folder).tables)
        process.send_signal(signal.SIGHUP)
        while corpus.refresh().release.number != 2:
            time.sleep(0.01)
        vectors = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
        batch = corpus.search(vectors={"text": vectors}).limit(50)
        expected = batch.to_list()
        answers: list[list[dict]] = []
        thread = threading.Thread(target=lambda: answers.append(batch.to_list()))
        thread.start()
        while b"isotrope_requests_inside 1.0" not in httpx.get(f"{url}/metrics").content:
            assert thread.is_alive()
        process.send_signal(signal.SIGTERM)
        thread.join()
        assert answers == [expected]
        assert process.wait(30) in (0, -signal.SIGTERM)
        with pytest.raises(errors.ServerError, match="does not answer"):
            corpus.search(text="x").to_list()
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
