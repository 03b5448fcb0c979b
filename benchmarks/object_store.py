"""A run of a small corpus with its tables on an S3 server, against the same run in a local folder.

    python -m benchmarks.object_store [--samples N] [--requests]
    python -m benchmarks.object_store --corpus demo      # of `isotrope demo demo`

Prints the seconds of each stage in both, their ratio, and the number of requests. Also the
processor seconds of both runs with all of their processes and the server: their ratio holds on a
busy machine too. `--requests`: also the number of requests by folder and kind.
The server is moto's, in a process of its own on loopback. Ray is started once, before the runs.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from moto.moto_server.werkzeug_app import MotoRequestHandler

from embedders.pool.ray_cluster import cluster
from orchestration.runner import Step, run_missing
from store.workspace import Workspace
from tests.helpers.stores import SECRET, s3_server
from tests.helpers.trio import CONFIG, deliver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=480, help="that are made")
    parser.add_argument("--corpus", type=Path, help="a folder whose drops are taken instead")
    parser.add_argument("--requests", action="store_true", help="list the requests")
    options = parser.parse_args()
    context = get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there,))
    server.start()
    tables = here.recv()
    os.environ[SECRET] = "testing"
    with tempfile.TemporaryDirectory() as folder, cluster():
        drops, config = Path(folder, "drops"), CONFIG
        if options.corpus:
            shutil.copytree(options.corpus / "drops", drops)
            config = (options.corpus / "corpus.yaml").read_text(encoding="utf-8")
        else:
            first = options.samples
            deliver(drops / "first", range(first))
            deliver(drops / "second", range(first, first + first // 4))
        _run(Path(folder, "warm"), drops, config, "tables")  # imports, and models in the workers
        used = [_processor_seconds()]
        local = _run(Path(folder, "local"), drops, config, "tables")
        used.append(_processor_seconds())
        remote = _run(Path(folder, "remote"), drops, config, tables)
        used.append(_processor_seconds())
    here.send("stop")
    requests, processor = here.recv()
    server.join()
    for one, two in zip(local, remote, strict=True):
        print(f"{one.stage:<12}{one.drop or '':<10}{one.seconds:8.2f}{two.seconds:8.2f}")
    totals = [sum(step.seconds for step in steps) for steps in (local, remote)]
    print(f"{'all':<22}{totals[0]:8.2f}{totals[1]:8.2f}  ratio {totals[1] / totals[0]:.2f}")
    mine, theirs = used[1] - used[0], used[2] - used[1]
    print(f"{'processor':<22}{mine:8.2f}{theirs:8.2f}  ratio {theirs / mine:.2f}")
    print(f"{requests.total()} requests, {processor:.1f} processor seconds of the server")
    for (folder, kind), count in requests.most_common() if options.requests else ():
        print(f"{count:6} {kind:<6} {folder}")


def _processor_seconds() -> float:
    """What this process and all of its descendants have used, with those that have ended."""
    import psutil  # comes with Ray, which is running

    this = psutil.Process()
    times = [each.cpu_times() for each in (this, *this.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _serve(pipe: Connection) -> None:
    """Run the server until a message comes; send the counts of requests and processor seconds."""
    requests: Counter[tuple[str, str]] = Counter()

    def count(request: MotoRequestHandler, *_: object) -> None:
        requests[_kind(request.command, request.path)] += 1

    MotoRequestHandler.log_request = count  # type: ignore[method-assign]
    with s3_server() as server:
        pipe.send({"path": server.folder(), "options": server.options()})
        before = time.process_time()
        pipe.recv()
        pipe.send((requests, time.process_time() - before))


def _kind(command: str, path: str) -> tuple[str, str]:
    """The folder of the tables that a request is about, and its kind, such as LIST."""
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    if "list-type" in query:
        command, key = "LIST", query.get("prefix", [""])[0]
    else:
        key = url.path.removeprefix("/corpus/")
    folders = key.split("/")[1:]
    depth = 4 if folders[:1] == ["_staging"] else 2
    names = [name.partition("-")[0] for name in folders[:-1][:depth]]
    return "/".join(names), command


def _run(root: Path, drops: Path, config: str, tables: Any) -> list[Step]:
    root.mkdir()
    shutil.copytree(drops, root / "drops")
    (root / "corpus.yaml").write_text(yaml.safe_dump(yaml.safe_load(config) | {"tables": tables}))
    started = time.monotonic()
    steps = run_missing(Workspace.open(root))
    print(f"{root.name}: {time.monotonic() - started:.1f} s", flush=True)
    return steps


if __name__ == "__main__":
    main()
