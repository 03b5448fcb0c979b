"""Is memory flat in the size of a corpus? Peak of ingest and signals at 10 and at 100 shards.

    python -m benchmarks.memory [--shards 10 100] [--records 400] [--signals ray]

Each size runs in a process of its own. What is printed is the peak of the sum over the driver and
all of its descendants, Ray's workers among them, of their proportional set size: what processes
share (libraries, the object store) is counted once. `driver` is the driver's part alone.
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


def deliver(folder: Path, shards: int, records: int) -> None:
    """Tars of pictures of some 100 kB with captions, every one another."""
    folder.mkdir(parents=True)
    pictures = [_picture(seed) for seed in range(16)]
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for record in range(records):
                picture = pictures[record % 16] + f"{shard}-{record}".encode()
                words = " ".join(random.Random(f"{shard}-{record}").choices(WORDS.split(), k=12))
                for extension, data in (("jpg", picture), ("txt", words.encode())):
                    member = tarfile.TarInfo(f"{shard:05d}-{record:05d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


WORDS = "cat dog bird house tree river boat hill red green blue old new small large warm"


def _picture(seed: int) -> bytes:
    chooser, out = np.random.default_rng(seed), io.BytesIO()
    large = Image.fromarray(chooser.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize(
        (400, 400)
    )
    noisy = np.asarray(large, np.int16) + chooser.integers(-24, 24, (400, 400, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=92)
    return out.getvalue()


def run(root: Path, shards: int, records: int, engine: str) -> dict[str, float]:
    """Peak MB by stage."""
    from pipelines.samples.stage import ingest
    from pipelines.signals.stage import measure
    from pipelines.stages import staleness
    from pipelines.stages.context import StageContext
    from store.workspace import Workspace

    deliver(root / "drops" / "a", shards, records)
    (root / "corpus.yaml").write_text(
        f"sources:\n  s: {{path: drops}}\nengine: {{signals: {engine}}}\n"
    )
    workspace = Workspace.open(root)
    peaks = {}
    for stage, make in (
        ("samples", lambda: ingest(StageContext(workspace, staleness.drops(workspace)["a"]))),
        ("signals", lambda: measure(StageContext(workspace, "a"))),
    ):
        with Peak() as peak:
            counts = make()
        assert counts.kept == shards * records, counts
        peaks[stage] = peak.megabytes
        peaks[f"{stage}, driver"] = peak.driver
    return peaks


class Peak:
    """The peak of what this process and its descendants hold, looked at twice a second."""

    def __enter__(self) -> "Peak":
        self.megabytes = self.driver = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_SECONDS):
            held = [megabytes(pid) for pid in family(os.getpid())]
            self.driver = max(self.driver, held[0])
            self.megabytes = max(self.megabytes, sum(held))


def family(root: int) -> list[int]:
    """A process and its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def megabytes(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:  # it has ended
        return 0.0
    return 0.0


def _apart(shards: int, records: int, engine: str) -> dict[str, float]:
    options = ["--one", str(shards), "--records", str(records), "--signals", engine]
    command = [sys.executable, "-m", "benchmarks.memory", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs=2, default=[10, 100])
    parser.add_argument("--records", type=int, default=400, help="of each shard")
    parser.add_argument("--signals", choices=("ray", "beam"), default="ray")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(Path(folder), asked.one, asked.records, asked.signals)))
        return
    few, many = (_apart(shards, asked.records, asked.signals) for shards in asked.shards)
    table = Table("peak, MB", *(f"{n} shards" for n in asked.shards), "ratio")
    for name in few:
        ratio = many[name] / few[name]
        table.add_row(name, f"{few[name]:,.0f}", f"{many[name]:,.0f}", f"{ratio:.2f}")
    Console().print(table)
    if max(many[s] / few[s] for s in ("samples", "signals")) > ALLOWED:
        raise SystemExit(f"memory is not flat: a ratio is over {ALLOWED}")


if __name__ == "__main__":
    main()
