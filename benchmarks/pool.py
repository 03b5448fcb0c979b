"""Measure the actor pool that embeds parts.

    python benchmarks/pool.py                             # about ten minutes on two cores
    python benchmarks/pool.py overhead ceiling memory     # or one or two of the three
    python benchmarks/pool.py --write docs/pool.md

`overhead` compares the pool with a plain loop over the same encoder. `ceiling` measures the speed
with an encoder without cost. `memory` measures the peak memory of the processes.

A rate counts the parts from the return of the first unit to the end of the publication. Both sides
of a comparison take turns, several times, and the tables show medians of the ratios.
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
from machine import peak_memory
from synthetic_corpus import DROP, delete_vectors, make_corpus, parts_of

from embedders.pool.ray_cluster import cluster
from embedders.pool.worker import FIRST_BATCH
from embedders.registry import load_encoder
from pipelines.stages.context import StageContext
from pipelines.vectors.stage import embed
from pipelines.vectors.staging_writer import StagingWriter
from store.arrow import as_matrix
from store.tables.names import vectors_table
from store.workspace import Workspace

EQUAL = 1e-5
INTRODUCTION = """\
All runs use the stage of `isotrope run`: it reads JPEGs and captions from a Lance table and
publishes a Lance table of vectors, with each part embedded once. A rate counts from the return of
the first unit to the end of the publication. The time before (planning, the start of an actor, the
loading of its model) is given separately. The plain loop calls the same encoder with the same
number of threads on prepared inputs, in batches of the same size. Ratios are medians of runs that
take turns; on a shared machine, rates vary."""


class Embedded(NamedTuple):
    """Speed of one run of the stage.

    Attributes:
        rate: parts per second, from the return of the first unit to the end of the publication.
        start: seconds before: planning, starting an actor, loading its model.
    """

    rate: float
    start: float


def embed_with_pool(workspace: Workspace) -> Embedded:
    """Embed all parts with the pool, from the start."""
    delete_vectors(workspace)
    unit_times: list[float] = []
    parts_done: list[int] = []
    add = StagingWriter.add

    def timed(self: StagingWriter, *unit: Any) -> None:
        add(self, *unit)
        unit_times.append(time.perf_counter())
        parts_done.append(self.parts)

    start = time.perf_counter()
    with patch.object(StagingWriter, "add", timed):
        embed(StageContext(workspace, DROP))
    end = time.perf_counter()
    rate = (parts_done[-1] - parts_done[0]) / (end - unit_times[0])
    return Embedded(rate, unit_times[0] - start)


def embed_in_loop(spec: str, inputs: list) -> tuple[float, np.ndarray]:
    """Seconds of a plain loop with one thread, and its vectors."""
    import torch

    torch.set_num_threads(1)
    encoder = load_encoder(spec)
    encoder.encode(inputs[:FIRST_BATCH])
    batches = [inputs[at : at + FIRST_BATCH] for at in range(0, len(inputs), FIRST_BATCH)]
    start = time.perf_counter()
    vectors = [encoder.encode(batch) for batch in batches]
    return time.perf_counter() - start, np.concatenate(vectors)


def overhead(report: Report, folder: Path, samples: int, repeats: int) -> None:
    rows = []
    for spec, side, count in (("local:image", 256, samples), ("local:text", 0, 8 * samples)):
        modality = spec.partition(":")[2]
        workspace = make_corpus(folder / modality, {modality: spec}, count, side, "num_cpus: 1")
        encoder, parts = load_encoder(spec), parts_of(workspace, modality)
        inputs = [encoder.prepare(raw) for raw in parts.values()]
        ratios, rates = [], []
        for _ in range(repeats):
            loop_seconds, vectors = embed_in_loop(spec, inputs)
            with cluster():
                rate = embed_with_pool(workspace).rate
            ratios.append(rate * loop_seconds / count)
            rates.append(rate)
        table = workspace.tables.open(vectors_table("measured")).to_table()
        stored = dict(zip(table["part_id"].to_pylist(), as_matrix(table["vector"]), strict=True))
        difference = float(np.abs(np.stack([stored[part] for part in parts]) - vectors).max())
        assert difference < EQUAL, difference
        rows.append(
            [spec, f"{count:,}", f"{statistics.median(rates):,.1f}",
             f"{statistics.median(ratios):.2f}", f"{difference:.0e}"]
        )  # fmt: skip
    header = ["encoder", "parts", "parts/s", "relative to the loop", "largest difference"]
    report.table("The pool and a plain loop over prepared inputs, one thread each", header, rows)


def ceiling(report: Report, folder: Path, samples: int, repeats: int) -> None:
    cases = {
        "captions": ("text", "python:encoders:NullText", 0, 25 * samples),
        "images of 64 pixels, as bytes": ("image", "python:encoders:NullImage", 64, 5 * samples),
        "images of 64 pixels, decoded": ("image", "python:encoders:DecodedImage", 64, 2 * samples),
        "images of 512 pixels, decoded": ("image", "python:encoders:DecodedImage", 512, samples),
    }
    rows = []
    for name, (modality, spec, side, count) in cases.items():
        workspace = make_corpus(folder / name.replace(" ", "-"), {modality: spec}, count, side)
        with cluster():
            runs = [embed_with_pool(workspace) for _ in range(repeats)]
        rate = statistics.median(run.rate for run in runs)
        start = statistics.median(run.start for run in runs)
        rows.append([name, f"{count:,}", f"{rate:,.0f}", f"{start:.1f}"])
    header = ["parts of", "parts", "parts/s", "seconds to start"]
    report.table("With an encoder without cost", header, rows)


def memory(report: Report, folder: Path, samples: int) -> None:
    """Peak memory of the processes, with a process and a Ray for each size."""
    rows = []
    towers = {"text": "python:encoders:NullText", "image": "python:encoders:DecodedImage"}
    for count in (samples, 10 * samples):
        make_corpus(folder / f"memory-{count}", towers, count, 64)
        command = [sys.executable, __file__, "--embed", str(folder / f"memory-{count}")]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peaks = json.loads(output)
        rows.append([f"{count:,}", *(f"{peaks[name]:,.0f}" for name in ("driver", *_WORKERS))])
    growth = [f"{float(b.replace(',', '')) - float(a.replace(',', '')):+,.0f}"
              for a, b in zip(rows[0][1:], rows[1][1:], strict=True)]  # fmt: skip
    rows.append(["growth with ten times the samples", *growth])
    header = ["samples (an image and a caption each)", "driver", "actor", "prepare"]
    report.table("Peak memory of a process, MB, without the shared Ray object store", header, rows)


_WORKERS = {"actor": "ray::EncoderActor", "prepare": "ray::prepare"}  # process titles


def embed_and_print_memory(root: Path) -> None:
    """Embed, and print the peak memory of the driver and of each kind of worker as JSON, MB."""
    peaks = dict.fromkeys(_WORKERS, 0.0)
    stop = threading.Event()

    def watch() -> None:
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
                        peaks[kind] = max(peaks[kind], own)
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        embed(StageContext(Workspace.open(root), DROP))
    finally:
        stop.set()
        watcher.join()
    print(json.dumps({"driver": peak_memory() * 1e3, **peaks}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="*", default=["overhead", "ceiling", "memory"])
    parser.add_argument(
        "--samples", type=int, default=1024, help="samples of the smallest comparison"
    )
    parser.add_argument(
        "--least",
        type=int,
        default=10_000,
        help="samples of `memory`, which also runs ten times as many",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--embed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.embed:
        embed_and_print_memory(options.embed)
        return
    report = Report()
    report.add("# The actor pool", "", INTRODUCTION, "")
    report.add(
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
