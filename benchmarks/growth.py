"""Measure what each stage costs as a corpus grows, and what a change of the corpus costs.

    python -m benchmarks.growth                          # 2,000 and 20,000 samples, minutes
    python -m benchmarks.growth --write docs/scale.md    # rewrite the tables of the page
    python -m benchmarks.growth --sizes 200 800 --build  # only builds, a minute

A sample is a picture of 32 pixels and a caption; an encoder without a model gives vectors of 512
dimensions (`benchmarks.null_encoder`). Each size is built in a process of its own. Then 1% is
added, a threshold is changed, and the added drop is removed.

Seconds are those of the processors, of the driver and all of its children, without the start of
Ray. Python finds the modules compiled, as in an installation that has run before. Memory is the
driver's peak above its memory after the imports. Bytes are those of the files that a stage leaves.
A line through both sizes gives the constant seconds and those per million. The exponent is that of
the seconds between the two sizes; the script fails if the whole pipeline's is above 1.1.
"""

import argparse
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.markdown import Markdown

from assets.metadata.usage import measured

MOST_EXPONENT = 1.1
ACTIONS = {"build": "build", "more": "+1%", "threshold": "threshold", "remove": "-1 drop"}
BEGIN, END = "<!-- growth -->", "<!-- /growth -->"
_SHARD, _SIDE = 1000, 32
_TINY = 200  # samples of a corpus that all stages run on
_CONFIG = """\
sources:
  tiny: {{path: drops}}
policy:
  image_min_side: {{min: 16}}
  text_chars: {{min: {shortest}}}
space: nothing
spaces:
  nothing:
    image: "python:benchmarks.null_encoder:image"
    text: "python:benchmarks.null_encoder:text"
"""
_WORDS = [f"word{n}" for n in range(500)]


def write_drop(folder: Path, numbers: range) -> None:
    """Write tars of pictures and captions."""
    folder.mkdir(parents=True)
    for start in range(numbers.start, numbers.stop, _SHARD):
        with tarfile.open(folder / f"{start:09d}.tar", "w") as tar:
            for number in range(start, min(start + _SHARD, numbers.stop)):
                for extension, data in (("png", _picture(number)), ("txt", _caption(number))):
                    member = tarfile.TarInfo(f"{number:09d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 4, (_SIDE, _SIDE, 3), np.uint8)
    pixels[0, 0], pixels[0, 1, 0] = list(number.to_bytes(4)[1:]), number >> 24
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _caption(number: int) -> bytes:
    rng = np.random.default_rng(number)
    return " ".join([*rng.choice(_WORDS, rng.integers(5, 20)), str(number)]).encode()


def configure(root: Path, shortest: int) -> None:
    (root / "corpus.yaml").write_text(_CONFIG.format(shortest=shortest), encoding="utf-8")


def measure(
    root: Path, samples: int, changes: bool = True
) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds, bytes and megabytes by action and stage. Runs in a process of its own.

    Args:
        changes: whether the corpus is also changed after it was built.
    """
    from embedders.pool.ray_cluster import cluster

    added = max(samples // 100, 1)
    write_drop(root / "drops" / "base", range(samples))
    configure(root, 5)
    with cluster():
        results = {"build": run_stages(root)}
        if not changes:
            return results
        write_drop(root / "drops" / "more", range(samples, samples + added))
        results["more"] = run_stages(root)
        kept = count_kept(root)
        configure(root, 43)  # rejects 1.3%
        results["threshold"] = run_stages(root)
        assert count_kept(root) < kept
        configure(root, 5)
        run_stages(root)
        shutil.rmtree(root / "drops" / "more")
        results["remove"] = run_stages(root, before=lambda w: remove_drop(w, "more"))
    return results


def run_stages(
    root: Path, before: Callable[[Any], None] = lambda workspace: None
) -> dict[str, dict[str, float]]:
    """Run what is out of date; the costs by stage."""
    from pipelines.stages import staleness
    from pipelines.stages.context import StageContext
    from store.workspace import Workspace
    from tests.helpers.stages import build

    workspace = Workspace.open(root)
    costs: dict[str, dict[str, float]] = {}

    def costed(name: str, work: Callable[[], None]) -> None:
        files, memory = set(_files(root)), psutil.Process().memory_info().rss
        with measured() as usage:
            work()
        cost = {
            "seconds": usage.processor_seconds,
            "bytes": sum(size for file, size in _files(root) if (file, size) not in files),
            "mb": (usage.peak_bytes - memory) / 1e6,
        }
        before = costs.get(name, dict.fromkeys(cost, 0.0))
        costs[name] = {
            k: max(v, before[k]) if k == "mb" else v + before[k] for k, v in cost.items()
        }

    def plan(drop: Any) -> list[str]:
        stale: list[str] = []
        costed("plan", lambda: stale.extend(staleness.stale(workspace, drop)))
        return stale

    costed("plan", lambda: before(workspace))
    for drop in [*staleness.drops(workspace).values(), None]:
        done: set[str] = set()
        while stages := [stage for stage in plan(drop) if stage not in done]:
            costed(stages[0], partial(build, stages[0], StageContext(workspace, drop)))
            done.add(stages[0])
    return costs


def count_kept(root: Path) -> int:
    from store.workspace import Workspace

    return int(Workspace.open(root).tables.open("decisions").count_rows("keep"))


def remove_drop(workspace: Any, drop: str) -> None:
    from pipelines.removal import drops

    drops.remove_drop(workspace, drop)


def _files(root: Path) -> Iterable[tuple[str, int]]:
    for folder, _, names in os.walk(root / "tables"):
        for name in names:
            path = os.path.join(folder, name)
            yield path, os.path.getsize(path)


def measure_in_process(samples: int, compiled: str, changes: bool = True) -> dict[str, Any]:
    """As `measure`, in a new process and a temporary folder.

    Args:
        compiled: the folder of Python's compiled modules.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(samples), folder]
        command += [] if changes else ["--build"]
        process = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=environment
        )
    return json.loads(process.stdout.splitlines()[-1])


def exponent(small: float, large: float, ratio: float) -> float:
    return math.log(max(large, 1e-3) / max(small, 1e-3)) / math.log(ratio)


def page(results: dict[int, dict[str, Any]]) -> tuple[str, float]:
    """The tables as Markdown, and the exponent of the whole build."""
    small, large = results
    first, second = results[small]["build"], results[large]["build"]
    lines = [
        f"| stage | s, {small:,} | s, {large:,} | constant s | s per million | exponent"
        " | bytes a sample | driver MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    totals = []
    for stage in [*second, "all"]:
        a, b = (
            _total(r)
            if stage == "all"
            else r.get(stage, dict.fromkeys(("seconds", "bytes", "mb"), 0))
            for r in (first, second)
        )
        slope = (b["seconds"] - a["seconds"]) / (large - small)
        constant = a["seconds"] - slope * small
        grown = exponent(a["seconds"], b["seconds"], large / small)
        totals.append(grown)
        lines.append(
            f"| {stage} | {a['seconds']:,.1f} | {b['seconds']:,.1f} | {constant:,.1f}"
            f" | {slope * 1e6:,.0f} | {grown:.2f} | {b['bytes'] / large:,.0f} | {b['mb']:,.0f} |"
        )
    if len(results[large]) == 1:
        return "\n".join(lines), totals[-1]
    stages = list(dict.fromkeys(s for r in results[large].values() for s in r))
    lines += ["", f"| s, {large:,} samples | {' | '.join(ACTIONS.values())} |", "|---" * 5 + "|"]
    for stage in stages:
        seconds = [results[large][a].get(stage, {}).get("seconds", 0) for a in ACTIONS]
        lines.append(f"| {stage} | {' | '.join(f'{s:.1f}' for s in seconds)} |")
    sums = [_total(results[large][a])["seconds"] for a in ACTIONS]
    lines.append(f"| all | {' | '.join(f'{s:.1f} ({s / sums[0]:.0%})' for s in sums)} |")
    return "\n".join(lines), totals[-1]


def _total(stages: dict[str, dict[str, float]]) -> dict[str, float]:
    return {
        "seconds": sum(s["seconds"] for s in stages.values()),
        "bytes": sum(s["bytes"] for s in stages.values()),
        "mb": max((s["mb"] for s in stages.values()), default=0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs=2, default=[2000, 20000])
    parser.add_argument("--write", type=Path, help="the Markdown file with the tables")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--build", action="store_true", help="without the changes")
    parser.add_argument("--one", nargs=2, metavar=("SAMPLES", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        samples, folder = options.one
        print(json.dumps(measure(Path(folder), int(samples), not options.build)))
        return
    with tempfile.TemporaryDirectory() as compiled:
        measure_in_process(_TINY, compiled)  # compiles the modules
        results = {
            samples: measure_in_process(samples, compiled, not options.build)
            for samples in options.sizes
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    tables, grown = page(results)
    Console().print(Markdown(tables))
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        head, rest = text.split(BEGIN)
        options.write.write_text(f"{head}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")
    if grown > MOST_EXPONENT:
        raise SystemExit(f"the cost grows faster than the corpus: exponent {grown:.2f}")


if __name__ == "__main__":
    main()
