"""Draw the memory of every process over one run of all stages, and print the peaks.

    python -m benchmarks.process_memory                                  # 20,000 samples
    python -m benchmarks.process_memory --samples 100000 --picture docs/memory.png

The corpus is that of `benchmarks.growth`: tiny pictures with captions, and an encoder without a
model. A process of its own runs the stages; this one samples the proportional set size (PSS) of it
and of all its descendants twice a second, so that what they share is counted once. `driver` is the
process of the run, `actors` and `tasks` are Ray's workers by what they do, `idle` those that wait,
and `Ray` its own processes with the object store.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.growth import configure, write_drop
from benchmarks.memory import megabytes, process_tree
from pipelines.reports.canvas import Ink, canvas, png

KINDS = ("driver", "actors", "tasks", "idle", "encoder", "Ray", "other")
_COLOURS = ("#3d5a80", "#2a9d8f", "#e9a03b", "#d5d9df", "#d1495b", "#98a3b3", "#c7b8ea")
_SECONDS = 0.5
_SHORTEST = 0.03  # of a run: the share of a stage that gets its name in the picture


def run(root: Path) -> None:
    """Make all tables, and print the name of each stage when it begins."""
    from orchestration.runner import run_missing
    from store.workspace import Workspace

    run_missing(Workspace.open(root), on_step=lambda stage, drop: print(stage, flush=True))


def kind_of(pid: int, driver: int) -> str:
    """What a process is for, by its title."""
    if pid == driver:
        return "driver"
    try:
        title = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return "other"
    if title.startswith("ray::IDLE"):
        return "idle"
    if title.startswith("ray::EncoderActor"):
        return "actors"
    if title.startswith("ray::"):
        return "tasks"
    if "one_process" in title:
        return "encoder"
    return "Ray" if "/ray/" in title else "other"


def sample(root: Path) -> tuple[np.ndarray, np.ndarray, list[tuple[str, float]]]:
    """Run the stages in a process, and measure it.

    Returns:
        (n,) seconds, (n, kinds) megabytes, and the stages with the seconds at which they began.
    """
    command = [sys.executable, "-m", "benchmarks.process_memory", "--one", str(root)]
    started = time.monotonic()
    stages: list[tuple[str, float]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stdout
            for line in process.stdout:
                stages.append((line.strip(), time.monotonic() - started))

        reader = threading.Thread(target=read)
        reader.start()
        times, rows = [], []
        while process.poll() is None:
            memory: dict[str, float] = defaultdict(float)
            for pid in process_tree(process.pid):
                memory[kind_of(pid, process.pid)] += megabytes(pid)
            times.append(time.monotonic() - started)
            rows.append([memory[kind] for kind in KINDS])
            time.sleep(_SECONDS)
        reader.join()
    if process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}")
    return np.array(times), np.array(rows), stages


def draw(times: np.ndarray, rows: np.ndarray, stages: list[tuple[str, float]]) -> bytes:
    """Stacked areas by kind of process, with a line where a stage begins. Returns a PNG."""
    ink = Ink.of(dark=False)
    figure, (axes,) = canvas(3.4, ink)
    shown = [n for n in range(len(KINDS)) if rows[:, n].max() > 1]
    axes.stackplot(
        times,
        rows[:, shown].T / 1000,
        labels=[KINDS[n] for n in shown],
        colors=[_COLOURS[n] for n in shown],
    )
    top = 1.25 * rows.sum(axis=1).max() / 1000
    ends = [*(at for _, at in stages[1:]), times[-1]]
    for (name, start), end in zip(stages, ends, strict=True):
        axes.axvline(start, color=ink.line, linewidth=0.8)
        if end - start > _SHORTEST * times[-1]:
            axes.text(
                start, top, f" {name}", rotation=90, va="top", ha="left", fontsize=7, color=ink.text
            )
    axes.set_xlim(0, times[-1])
    axes.set_ylim(0, top)
    axes.set_xlabel("seconds", fontsize=9, color=ink.text)
    axes.set_ylabel("GB (PSS)", fontsize=9, color=ink.text)
    figure.legend(loc="outside upper left", ncols=6, fontsize=7, frameon=False, labelcolor=ink.text)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--picture", type=Path, help="a PNG file")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run(options.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_drop(root / "drops" / "base", range(options.samples))
        configure(root, 5)
        times, rows, stages = sample(root)
    print("| processes | peak MB | at, s |\n|---|---|---|")
    for name, column in [*zip(KINDS, rows.T, strict=True), ("all", rows.sum(axis=1))]:
        print(f"| {name} | {column.max():,.0f} | {times[column.argmax()]:.0f} |")
    if options.picture:
        options.picture.write_bytes(draw(times, rows, stages))


if __name__ == "__main__":
    main()
