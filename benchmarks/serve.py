"""Measure search in process, with asyncio and over HTTP: latency, throughput, the server's share.

    python benchmarks/serve.py PAIRS.npy --rows 100000      # 1, 4 and 16 clients

The gallery is that of `benchmarks/grown_gallery.py`, with its index and its correction.

One client first takes turns between all ways, so that the load of the machine is the same for all:
the first table shows what a way adds to the search in process. Queries are vectors: no model runs.
The server is a process of its own, `isotrope serve`. The answers are compared.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from grown_gallery import TOP, make_release

import isotrope

IN_PROCESS, ASYNC, HTTP, ASYNC_HTTP = "in process", "async", "HTTP", "async HTTP"
WAYS = (IN_PROCESS, ASYNC, HTTP, ASYNC_HTTP)


@contextmanager
def server(folder: str) -> Iterator[tuple[str, int]]:
    """The address of a server of the tables, and its process."""
    words = [sys.executable, "-m", "orchestration.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen([*words, "--corpus", folder], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "running on" in line)
    drained = threading.Thread(target=process.stderr.read, daemon=True)
    drained.start()
    try:
        yield line.split("running on ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.wait()


Run = Callable[[np.ndarray], Awaitable[pa.Table]]


def runs(folder: str, url: str) -> dict[str, Run]:
    """What runs one query, for each way. Blocking ways run in the thread that awaits them."""
    local, remote = isotrope.connect(folder), isotrope.connect(url)
    local_async, remote_async = isotrope.connect_async(folder), isotrope.connect_async(url)

    async def in_process(query: np.ndarray) -> pa.Table:
        return local.search(vectors={"text": query}).limit(TOP).to_arrow()

    async def in_process_async(query: np.ndarray) -> pa.Table:
        return await local_async.search(vectors={"text": query}).limit(TOP).to_arrow()

    async def http(query: np.ndarray) -> pa.Table:
        return remote.search(vectors={"text": query}).limit(TOP).to_arrow()

    async def http_async(query: np.ndarray) -> pa.Table:
        return await remote_async.search(vectors={"text": query}).limit(TOP).to_arrow()

    return dict(zip(WAYS, (in_process, in_process_async, http, http_async), strict=True))


async def take_turns(ways: dict[str, Run], queries: np.ndarray) -> dict[str, list[float]]:
    """The seconds of each query, by way. The first query is a warm-up."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number, query in enumerate([queries[0], *queries]):
        answers = []
        for way, run in ways.items():
            start = time.perf_counter()
            answers.append(await run(query))
            if number:
                seconds[way].append(time.perf_counter() - start)
        assert all(answer.equals(answers[0]) for answer in answers)
    return seconds


def load(run: Run, queries: np.ndarray, clients: int, blocking: bool) -> tuple[list[float], float]:
    """The seconds of each query, and of all, where so many clients search at once."""
    seconds: list[float] = []

    async def client(number: int) -> None:
        for query in queries[number::clients]:
            start = time.perf_counter()
            await run(query)
            seconds.append(time.perf_counter() - start)

    async def all_clients() -> None:
        await asyncio.gather(*(client(number) for number in range(clients)))

    start = time.perf_counter()
    if blocking:
        threads = [
            threading.Thread(target=lambda n=n: asyncio.run(client(n))) for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        asyncio.run(all_clients())
    return seconds, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pairs", type=Path, help="a file (2, n, d) of images and captions")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--folder", help="of the tables, which are kept")
    options = parser.parse_args()
    kept = nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory()
    with kept as folder:
        made = make_release(folder, options.pairs, options.rows, options.queries)
        queries = made.queries
        with server(folder) as (url, process):
            index = made.release.indexes["image"]
            size = f"{index.rows:,} x {made.release.dim}"
            print(f"\n{size}, top {TOP}, one client, ways take turns\n")
            print("| way | p50, ms | p99, ms | p50 beyond in process, ms |\n|---|---|---|---|")
            turns = asyncio.run(take_turns(runs(folder, url), queries))
            for way, values in turns.items():
                pairs = zip(values, turns[IN_PROCESS], strict=True)
                added = statistics.median(a - b for a, b in pairs)
                print(f"| {way} | {p(values, 50)} | {p(values, 99)} | {1000 * added:.2f} |")
            print("\n| clients | way | p50, ms | p99, ms | queries/s |\n|---|---|---|---|---|")
            for clients in options.clients:
                for way, run in runs(folder, url).items():
                    blocking = way in (IN_PROCESS, HTTP)
                    values, total = load(run, queries, clients, blocking)
                    figures = f"{p(values, 50)} | {p(values, 99)} | {len(values) / total:.0f}"
                    print(f"| {clients} | {way} | {figures} |", flush=True)
            print(f"\nmemory of the server: {own_memory(process):.2f} GB")


def own_memory(process: int) -> float:
    """The GB of a process beyond the pages of files."""
    memory = psutil.Process(process).memory_info()
    return (memory.rss - memory.shared) / 1e9


def p(seconds: list[float], percentile: int) -> str:
    return f"{1000 * np.percentile(seconds, percentile):.1f}"


if __name__ == "__main__":
    main()
