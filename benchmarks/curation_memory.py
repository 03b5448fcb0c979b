"""Measure the driver's memory in the stages `duplicates` and `decisions`, without media.

    python -m benchmarks.curation_memory                    # 200,000 and 2,000,000 samples
    python -m benchmarks.curation_memory --sizes 200000 --text
    python -m benchmarks.curation_memory --sizes 50000 --images

Samples have ids, as in `benchmarks.lists`; every hundredth is in a second drop too. `--text` gives
them captions of 12 random words and compares these. `--images` gives them hashes of images, random
but for one in a hundred, which is a copy of the one before, and compares these.

Each stage runs in a process of its own. Memory is the peak of the process above that after the
imports, with what it has mapped of Ray's object store, and without; seconds are those of the
processor. With many captions or images the searches are Ray tasks, whose processes are not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil

from benchmarks.lists import add
from pipelines.decisions.stage import decide
from pipelines.duplicates.stage import find_duplicates
from pipelines.stages.context import StageContext
from store.workspace import Workspace

_CONFIG = "sources: {{s: {{path: drops}}}}\npolicy: {{text_chars: {{min: 5}}}}\n{duplicates}"
_SAMPLED = 0.02  # seconds between samples of memory
_STAGES = {"duplicates": find_duplicates, "decisions": decide}


def captions(numbers: range) -> dict[str, Any]:
    words = np.random.default_rng(numbers[0]).integers(0, 10_000, (len(numbers), 12)).astype(str)
    texts = [" ".join(line) for line in words]
    return {"text": texts, "text_chars": [len(text) for text in texts]}


def images(numbers: range) -> dict[str, Any]:
    hashes = np.random.default_rng(numbers[0]).integers(0, 256, (len(numbers), 512), np.uint8)
    hashes[99::100] = hashes[98::100]
    hashes[99::100, ::64] ^= 1
    return {
        "image_copies": [row.tobytes() for row in hashes],
        "image_look": [bytes(32 * 32 * 3)] * len(numbers),
        "image_pdq_quality": [100] * len(numbers),
        "scorers": ["image_copies@1"] * len(numbers),
    }


def run(root: Path, stage: str) -> dict[str, float]:
    """What a stage takes."""
    before, start = psutil.Process().memory_info().rss, time.process_time()
    own, done = [0], Event()

    def sample() -> None:
        while not done.wait(_SAMPLED):
            memory = psutil.Process().memory_info()
            own[0] = max(own[0], memory.rss - memory.shared)

    shared_before = psutil.Process().memory_info().shared
    thread = Thread(target=sample)
    thread.start()
    _STAGES[stage](StageContext(Workspace.open(root)))
    done.set()
    thread.join()
    # Not that of `resource`, which counts the memory of the process that started this one.
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in s)
    peak = int(line.split()[1]) * 1024
    return {
        "MB": (peak - before) / 1e6,
        "own MB": (own[0] - (before - shared_before)) / 1e6,
        "s": time.process_time() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--text", action="store_true", help="compare captions")
    parser.add_argument("--images", action="store_true", help="compare images")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(Path(options.one[0]), options.one[1])))
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            duplicates, more = "", None
            if options.text:
                duplicates, more = "duplicates: {text: 0.7, parts: every}\n", captions
            elif options.images:
                duplicates, more = "duplicates: {image: 31}\n", images
            Path(folder, "corpus.yaml").write_text(_CONFIG.format(duplicates=duplicates))
            workspace = Workspace.open(folder)
            add(workspace, 0, size, "a", more)
            add(workspace, 0, size // 100, "b", more)
            for stage in _STAGES:
                command = [sys.executable, "-m", "benchmarks.curation_memory"]
                process = subprocess.run(
                    [*command, "--one", folder, stage],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                costs = json.loads(process.stdout.splitlines()[-1])
                figures = f"{costs['MB']:,.0f} MB, without shared ones {costs['own MB']:,.0f} MB"
                print(f"{size:,} {stage}: {figures}, {costs['s']:,.1f} s", flush=True)


if __name__ == "__main__":
    main()
