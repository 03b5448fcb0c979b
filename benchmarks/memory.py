"""Measure whether peak memory grows with the corpus: stages samples and signals, 10 and 100 shards.

    python -m benchmarks.memory [--shards 10 100] [--records 400] [--signals ray]

Each size runs in a process of its own. The table shows the peak of the summed proportional set size
(PSS) of the driver and all of its descendants, including Ray workers. Memory that processes share,
such as libraries and the object store, is counted once. The row "driver" has the driver alone. The
script fails if a ratio of the two sizes is above 1.2.
"""

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

ALLOWED = 1.2
_SECONDS = 0.5


def write_drop(folder: Path, shards: int, records: int) -> None:
    """Write tars of distinct images of about 100 kB with distinct captions."""
    folder.mkdir(parents=True)
    images = [_image(seed) for seed in range(16)]
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for record in range(records):
                image = images[record % 16] + f"{shard}-{record}".encode()
                words = " ".join(random.Random(f"{shard}-{record}").choices(WORDS.split(), k=12))
                for extension, data in (("jpg", image), ("txt", words.encode())):
                    member = tarfile.TarInfo(f"{shard:05d}-{record:05d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


WORDS = "cat dog bird house tree river boat hill red green blue old new small large warm"


def _image(seed: int) -> bytes:
    rng, out = np.random.default_rng(seed), io.BytesIO()
    large = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize((400, 400))
    noisy = np.asarray(large, np.int16) + rng.integers(-24, 24, (400, 400, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=92)
    return out.getvalue()


def run(root: Path, shards: int, records: int, engine: str) -> dict[str, float]:
    """Run both stages; returns the peak memory in MB by stage."""
    from pipelines.samples.stage import ingest
    from pipelines.signals.stage import measure
    from pipelines.stages import staleness
    from pipelines.stages.context import StageContext
    from store.workspace import Workspace

    write_drop(root / "drops" / "a", shards, records)
    (root / "corpus.yaml").write_text(
        f"sources:\n  s: {{path: drops}}\nengine: {{signals: {engine}}}\n"
    )
    workspace = Workspace.open(root)
    peaks = {}
    for stage, make in (
        ("samples", lambda: ingest(StageContext(workspace, staleness.drops(workspace)["a"]))),
        ("signals", lambda: measure(StageContext(workspace, "a"))),
    ):
        with MemoryMonitor() as monitor:
            counts = make()
        assert counts.kept == shards * records, counts
        peaks[stage] = monitor.total
        peaks[f"{stage}, driver"] = monitor.driver
    return peaks


class MemoryMonitor:
    """Peak memory in MB of this process and its descendants, sampled twice per second."""

    def __enter__(self) -> "MemoryMonitor":
        self.total = self.driver = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            memory = [megabytes(pid) for pid in process_tree(os.getpid())]
            self.driver = max(self.driver, memory[0])
            self.total = max(self.total, sum(memory))


def process_tree(root: int) -> list[int]:
    """Process ids of a process and its descendants; the process itself comes first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # the process has ended
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    pids = [root]
    for pid in pids:
        pids += children.get(pid, [])
    return pids


def megabytes(pid: int) -> float:
    """Proportional set size of a process, MB; 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


def run_in_process(shards: int, records: int, engine: str) -> dict[str, float]:
    """As `run`, in a new process."""
    options = ["--one", str(shards), "--records", str(records), "--signals", engine]
    command = [sys.executable, "-m", "benchmarks.memory", *options]
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs=2, default=[10, 100])
    parser.add_argument("--records", type=int, default=400, help="records of each shard")
    parser.add_argument("--signals", choices=("ray", "beam"), default="ray")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(Path(folder), options.one, options.records, options.signals)))
        return
    few, many = (
        run_in_process(shards, options.records, options.signals) for shards in options.shards
    )
    table = Table("peak, MB", *(f"{n} shards" for n in options.shards), "ratio")
    for name in few:
        ratio = many[name] / few[name]
        table.add_row(name, f"{few[name]:,.0f}", f"{many[name]:,.0f}", f"{ratio:.2f}")
    Console().print(table)
    if max(many[s] / few[s] for s in ("samples", "signals")) > ALLOWED:
        raise SystemExit(f"memory grows with the corpus: a ratio is above {ALLOWED}")


if __name__ == "__main__":
    main()
