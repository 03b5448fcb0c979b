"""A run of a small corpus with its tables on an S3 server, against the same run in a local folder.

    python -m benchmarks.object_store [SAMPLES]

Prints the seconds of each stage in both, and their ratio. The server is moto's, in a process of its
own on loopback. Ray is started once, before both runs.
"""

import os
import shutil
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import yaml

from embedders.pool.ray_cluster import cluster
from orchestration.runner import Step, run_missing
from store.workspace import Workspace
from tests.helpers.stores import SECRET, s3_server
from tests.helpers.trio import CONFIG, deliver


def main(samples: int) -> None:
    context = get_context("spawn")
    place, stop = context.Queue(), context.Event()
    server = context.Process(target=_serve, args=(place, stop))
    server.start()
    tables = place.get()
    os.environ[SECRET] = "testing"
    with tempfile.TemporaryDirectory() as folder, cluster():
        drops = Path(folder, "drops")
        deliver(drops / "first", range(samples))
        deliver(drops / "second", range(samples, samples + samples // 4))
        _run(Path(folder, "warm"), drops, "tables")  # imports, and models in the workers
        local = _run(Path(folder, "local"), drops, "tables")
        remote = _run(Path(folder, "remote"), drops, tables)
    stop.set()
    server.join()
    for one, two in zip(local, remote, strict=True):
        print(f"{one.stage:<12}{one.drop or '':<10}{one.seconds:8.2f}{two.seconds:8.2f}")
    totals = [sum(step.seconds for step in steps) for steps in (local, remote)]
    print(f"{'all':<22}{totals[0]:8.2f}{totals[1]:8.2f}  ratio {totals[1] / totals[0]:.2f}")


def _serve(place: Any, stop: Event) -> None:
    with s3_server() as server:
        place.put({"path": server.folder(), "options": server.options()})
        stop.wait()


def _run(root: Path, drops: Path, tables: Any) -> list[Step]:
    root.mkdir()
    shutil.copytree(drops, root / "drops")
    (root / "corpus.yaml").write_text(yaml.safe_dump(yaml.safe_load(CONFIG) | {"tables": tables}))
    started = time.monotonic()
    steps = run_missing(Workspace.open(root))
    print(f"{root.name}: {time.monotonic() - started:.1f} s", flush=True)
    return steps


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 480)
