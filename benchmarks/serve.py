"""Measure search in process, with asyncio and over HTTP: latency, throughput, the server's share.

    python benchmarks/serve.py                 # 20,000 x 512, 1, 4 and 16 clients

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
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from machine import unit_rows

import isotrope
from store.arrow import vector_column
from store.search.vector_layout import fold
from store.tables import releases, schema
from store.tables.lance_tables import Tables
from store.tables.names import gallery_table
from store.tables.releases import Direction

DIM, TOP, SPACE = 512, 10, "space"
IN_PROCESS, ASYNC, HTTP, ASYNC_HTTP = "in process", "async", "HTTP", "async HTTP"
WAYS = (IN_PROCESS, ASYNC, HTTP, ASYNC_HTTP)


def make_tables(folder: str, rows: int) -> None:
    """A release with one gallery of random unit vectors."""
    tables, columns = Tables(folder), schema.gallery(DIM)
    served = fold(unit_rows(rows, DIM, 0), {}, {})
    values: dict[str, pa.Array] = {}
    for field in columns:
        if field.name == "vector":
            values[field.name] = vector_column(served)
        elif field.nullable:
            values[field.name] = pa.nulls(rows, field.type)
        elif pa.types.is_list(field.type):
            values[field.name] = pa.array([["x"]] * rows, field.type)
        elif pa.types.is_string(field.type):
            values[field.name] = pa.array([f"{n:032x}" for n in range(rows)], field.type)
        else:
            values[field.name] = pa.array(np.zeros(rows), pa.float32()).cast(field.type)
    batches = pa.table(values, columns).to_batches(max_chunksize=10_000)
    name = gallery_table(SPACE, "image")
    version = tables.replace(name, columns, batches, "false")
    releases.publish(
        tables,
        space=SPACE,
        space_config={},
        dim=DIM,
        fingerprints={},
        banks={},
        versions={name: version},
        directions={"text->image": Direction("text", "image", "none", {}, "", 0)},
        evaluation={},
        policy="",
    )


@contextmanager
def server(folder: str) -> Iterator[str]:
    """The address of a server of the tables."""
    words = [sys.executable, "-m", "orchestration.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen([*words, "--corpus", folder], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "running on" in line)
    drained = threading.Thread(target=process.stderr.read, daemon=True)
    drained.start()
    try:
        yield line.split("running on ")[1].split()[0]
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
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16])
    options = parser.parse_args()
    queries = unit_rows(options.queries, DIM, 2)
    with tempfile.TemporaryDirectory() as folder:
        make_tables(folder, options.rows)
        with server(folder) as url:
            print(f"\n{options.rows:,} x {DIM}, top {TOP}, one client, ways take turns\n")
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


def p(seconds: list[float], percentile: int) -> str:
    return f"{1000 * np.percentile(seconds, percentile):.1f}"


if __name__ == "__main__":
    main()
