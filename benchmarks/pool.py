"""The actor pool: what it costs beside a bare loop, how fast it is with an encoder that costs
nothing, and its memory.

    python benchmarks/pool.py                             # about ten minutes on two cores
    python benchmarks/pool.py overhead ceiling memory     # or some of the three
    python benchmarks/pool.py --write docs/pool.md

Everything goes through `pipelines.embed`, from a table of JPEGs and captions into a table of
vectors, publication included. Ray is up before; what starting an actor, loading its model and
planning take is told apart by embedding few and many: rates are of what many take more. The bare
loop calls the same encoder with as many threads on inputs that were prepared before, in batches of
the same size. Both are run in turn, several times over, and medians of ratios are given.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fit import Report
from machine import peak
from written import DROP, corpus, forget_vectors, parts_of

from embedders.actor import FIRST_BATCH
from embedders.cluster import cluster
from embedders.spaces import load
from pipelines.embed import embed, table_name
from store.tables import as_matrix
from store.workspace import Workspace

EQUAL = 1e-5
INTRODUCTION = """\
Everything goes through `isotrope run`'s own stage: from JPEGs and captions in a Lance table into
a published Lance table of vectors, each part embedded once. What starting an actor, loading its
model and planning take is left out of the rates by embedding few and many: rates are of what the
many take more. Ratios are medians of runs in turn; on a machine that is shared, rates waver."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def through_the_pool(few: Workspace, many: Workspace) -> tuple[float, float]:
    """Seconds that the many take more than the few, and that the few take."""
    took = []
    for workspace in (few, many):
        forget_vectors(workspace)
        took.append(seconds(lambda w=workspace: embed(w, DROP)))
    return took[1] - took[0], took[0]


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
    for spec, side, times in (("local:image", 256, 1), ("local:text", 0, 2)):
        modality = spec.partition(":")[2]
        count = samples * times
        few = corpus(folder / f"few-{modality}", {modality: spec}, 128 * times, side)
        many = corpus(folder / f"many-{modality}", {modality: spec}, count + 128 * times, side)
        encoder = load(spec)
        parts = parts_of(many, modality)
        inputs = [encoder.prepare(raw) for raw in parts.values()]
        ratios, rates = [], []
        for _ in range(repeats):
            alone, vectors = bare(spec, inputs[:count])
            with cluster():
                pooled, _ = through_the_pool(few, many)
            ratios.append(alone / pooled)
            rates.append(count / pooled)
        table = many.tables.open(table_name("measured")).to_table()
        made = dict(zip(table["part_id"].to_pylist(), as_matrix(table["vector"]), strict=True))
        there = np.stack([made[part] for part in list(parts)[:count]])
        difference = float(np.abs(there - vectors).max())
        assert difference < EQUAL, difference
        rows.append(
            [spec, f"{count:,}", f"{statistics.median(rates):,.1f}",
             f"{statistics.median(ratios):.2f}", f"{difference:.0e}"]
        )  # fmt: skip
    header = ["encoder", "parts", "parts a second", "to the bare loop", "largest difference"]
    report.table("Beside a bare loop over prepared inputs, one thread each", header, rows)


def ceiling(report: Report, folder: Path, samples: int, repeats: int) -> None:
    cases = {
        "captions": ("text", "python:encoders:NullText", 0, 20 * samples),
        "images of 64 pixels, as bytes": ("image", "python:encoders:NullImage", 64, 4 * samples),
        "images of 64 pixels, decoded": ("image", "python:encoders:DecodedImage", 64, 2 * samples),
        "images of 512 pixels, decoded": ("image", "python:encoders:DecodedImage", 512, samples),
    }
    rows = []
    for number, (what, (modality, spec, side, count)) in enumerate(cases.items()):
        few = corpus(folder / f"few-{number}", {modality: spec}, 128, side)
        many = corpus(folder / f"many-{number}", {modality: spec}, count + 128, side)
        took = []
        with cluster():
            for _ in range(repeats):
                took.append(through_the_pool(few, many))
        median = statistics.median(more for more, _ in took)
        start = statistics.median(few for _, few in took)
        rows.append([what, f"{count:,}", f"{count / median:,.0f}", f"{start:.1f}"])
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
        embed(Workspace.open(root), DROP)
    finally:
        stop.set()
        watcher.join()
    print(json.dumps({"driver": peak() * 1e3, **most}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="*", default=["overhead", "ceiling", "memory"])
    parser.add_argument("--samples", type=int, default=1024, help="of the smallest comparison")
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
            memory(report, folder, 10_000)
    if options.write:
        options.write.write_text("\n".join(report.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
