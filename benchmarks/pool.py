"""The actor pool: what it costs beside a bare loop, how fast it is with an encoder that costs
nothing, and its memory.

    python benchmarks/pool.py                             # about ten minutes on two cores
    python benchmarks/pool.py overhead ceiling memory     # or some of the three
    python benchmarks/pool.py --write docs/pool.md

Rates count from the first unit's return up to the publication's end. Both sides of a comparison
are run in turn, several times over, and medians of ratios are given.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from fit import Report
from machine import peak
from written import DROP, corpus, forget_vectors, parts_of

from embedders.pool.ray_cluster import cluster
from embedders.pool.worker import FIRST_BATCH
from embedders.registry import load
from pipelines.stages.context import StageContext
from pipelines.vectors.stage import embed
from pipelines.vectors.staging_writer import StagingWriter
from store.arrays import as_matrix
from store.tables.names import vectors_table
from store.workspace import Workspace

EQUAL = 1e-5
INTRODUCTION = """\
Everything goes through `isotrope run`'s own stage: from JPEGs and captions in a Lance table into
a published Lance table of vectors, each part embedded once. Rates are from the first unit's return
up to the end of the publication; what comes before (the plan, an actor's start, its model) is told
apart. The bare loop calls the same encoder with as many threads on inputs that were prepared
before, in batches of the same size. Ratios are medians of runs in turn; on a machine that is
shared, rates waver."""


class Embedded(NamedTuple):
    """Parts a second from the first unit's return up to the publication's end, and the seconds
    before: planning, starting an actor, loading its model."""

    rate: float
    start: float


def through_the_pool(workspace: Workspace) -> Embedded:
    forget_vectors(workspace)
    returned: list[float] = []
    counted: list[int] = []
    add = StagingWriter.add

    def timed(self: StagingWriter, *unit: Any) -> None:
        add(self, *unit)
        returned.append(time.perf_counter())
        counted.append(self.parts)

    start = time.perf_counter()
    with patch.object(StagingWriter, "add", timed):
        embed(StageContext(workspace, DROP))
    end = time.perf_counter()
    rate = (counted[-1] - counted[0]) / (end - returned[0])
    return Embedded(rate, returned[0] - start)


def bare(spec: str, inputs: list) -> tuple[float, np.ndarray]:
    """Seconds of a plain loop with one thread, and its vectors."""
    import torch

    torch.set_num_threads(1)
    encoder = load(spec)
    encoder.encode(inputs[:FIRST_BATCH])
    batches = [inputs[at : at + FIRST_BATCH] for at in range(0, len(inputs), FIRST_BATCH)]
    start = time.perf_counter()
    made = [encoder.encode(batch) for batch in batches]
    return time.perf_counter() - start, np.concatenate(made)


def overhead(report: Report, folder: Path, samples: int, repeats: int) -> None:
    rows = []
    for spec, side, count in (("local:image", 256, samples), ("local:text", 0, 8 * samples)):
        modality = spec.partition(":")[2]
        written = corpus(folder / modality, {modality: spec}, count, side)
        encoder, parts = load(spec), parts_of(written, modality)
        inputs = [encoder.prepare(raw) for raw in parts.values()]
        ratios, rates = [], []
        for _ in range(repeats):
            alone, vectors = bare(spec, inputs)
            with cluster():
                pooled = through_the_pool(written).rate
            ratios.append(pooled * alone / count)
            rates.append(pooled)
        table = written.tables.open(vectors_table("measured")).to_table()
        made = dict(zip(table["part_id"].to_pylist(), as_matrix(table["vector"]), strict=True))
        difference = float(np.abs(np.stack([made[part] for part in parts]) - vectors).max())
        assert difference < EQUAL, difference
        rows.append(
            [spec, f"{count:,}", f"{statistics.median(rates):,.1f}",
             f"{statistics.median(ratios):.2f}", f"{difference:.0e}"]
        )  # fmt: skip
    header = ["encoder", "parts", "parts a second", "to the bare loop", "largest difference"]
    report.table("Beside a bare loop over prepared inputs, one thread each", header, rows)


def ceiling(report: Report, folder: Path, samples: int, repeats: int) -> None:
    cases = {
        "captions": ("text", "python:encoders:NullText", 0, 25 * samples),
        "images of 64 pixels, as bytes": ("image", "python:encoders:NullImage", 64, 5 * samples),
        "images of 64 pixels, decoded": ("image", "python:encoders:DecodedImage", 64, 2 * samples),
        "images of 512 pixels, decoded": ("image", "python:encoders:DecodedImage", 512, samples),
    }
    rows = []
    for what, (modality, spec, side, count) in cases.items():
        written = corpus(folder / what.replace(" ", "-"), {modality: spec}, count, side)
        with cluster():
            took = [through_the_pool(written) for _ in range(repeats)]
        rate = statistics.median(t.rate for t in took)
        start = statistics.median(t.start for t in took)
        rows.append([what, f"{count:,}", f"{rate:,.0f}", f"{start:.1f}"])
    header = ["what", "parts", "parts a second", "seconds to start"]
    report.table("With an encoder that costs nothing", header, rows)


def memory(report: Report, folder: Path, samples: int) -> None:
    """Each size in a process, and a Ray, of its own."""
    rows = []
    towers = {"text": "python:encoders:NullText", "image": "python:encoders:DecodedImage"}
    for count in (samples, 10 * samples):
        corpus(folder / f"memory-{count}", towers, count, 64)
        command = [sys.executable, __file__, "--embed", str(folder / f"memory-{count}")]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        taken = json.loads(told)
        rows.append([f"{count:,}", *(f"{taken[who]:,.0f}" for who in ("driver", *_WORKERS))])
    grown = [f"{float(b.replace(',', '')) - float(a.replace(',', '')):+,.0f}"
             for a, b in zip(rows[0][1:], rows[1][1:], strict=True)]  # fmt: skip
    rows.append(["ten times as many", *grown])
    header = ["samples (an image and a caption each)", "driver", "actor", "prepare"]
    report.table("Most memory of a process, MB, without what Ray's store shares", header, rows)


_WORKERS = {"actor": "ray::Actor", "prepare": "ray::prepare"}


def embed_and_tell(root: Path) -> None:
    """Embed, and print the most memory that the driver and each kind of worker took, MB."""
    most = dict.fromkeys(_WORKERS, 0.0)
    stop = threading.Event()

    def look() -> None:
        kinds: dict[str, str] = {}
        while not stop.wait(0.2):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    title = (process / "cmdline").read_text()
                    if os.getsid(int(process.name)) != os.getsid(0):
                        continue
                    for kind, name in _WORKERS.items():
                        if title.startswith(name):
                            kinds[process.name] = kind
                    if kind := kinds.get(process.name):
                        status = (process / "status").read_text()
                        own = int(status.partition("RssAnon:")[2].split()[0]) / 1e3
                        most[kind] = max(most[kind], own)
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        embed(StageContext(Workspace.open(root), DROP))
    finally:
        stop.set()
        watcher.join()
    print(json.dumps({"driver": peak() * 1e3, **most}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="*", default=["overhead", "ceiling", "memory"])
    parser.add_argument("--samples", type=int, default=1024, help="of the smallest comparison")
    parser.add_argument("--least", type=int, default=10_000, help="samples; memory takes ten times")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--embed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        embed_and_tell(options.embed)
        return
    report = Report()
    report.say("# The actor pool", "", INTRODUCTION, "")
    report.say(
        f"Measured with `benchmarks/pool.py` on {os.cpu_count()} cores ({platform.machine()}), "
        f"medians of {options.repeats} runs."
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "overhead" in options.what:
            overhead(report, folder, options.samples, options.repeats)
        if "ceiling" in options.what:
            ceiling(report, folder, 4 * options.samples, options.repeats)
        if "memory" in options.what:
            memory(report, folder, options.least)
    if options.write:
        options.write.write_text("\n".join(report.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
