"""Measure `isotrope run` with nothing to do, on a corpus of many drops.

    python -m benchmarks.planning 1000 10000

A drop is a folder with one caption. The records of all stages are written as if they had been
made, so the run reads the sources and the records, and finds that everything is up to date.
Seconds are those of the processors, of a process of its own, imports included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from pipelines.stages.snapshot import Snapshot
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.stage_records import TABLE, StageRecords
from store.tables.stages import BY_DROP, GLOBAL
from store.workspace import Workspace

CONFIG = """\
sources:
  folders: {path: drops}
space: measured
spaces:
  measured: {text: "python:benchmarks.encoders:NullText"}
"""


def make_corpus(root: Path, drops: int) -> None:
    """A corpus of folders with one caption each, whose stages all count as made."""
    for number in range(drops):
        folder = root / "drops" / f"drop-{number:06d}"
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(f"caption {number}")
    (root / "corpus.yaml").write_text(CONFIG, encoding="utf-8")
    record_all(Workspace.open(root))


def record_all(workspace: Workspace) -> None:
    """Write the records of all stages, as if they had been made of the drops as they are now."""
    rows: list[dict] = []
    delivered = staleness.drops(workspace).values()
    for stage in (*BY_DROP, *GLOBAL):
        snapshot = Snapshot(workspace)
        snapshot.records = StageRecords(rows)
        for drop in delivered if stage in BY_DROP else [None]:
            context = StageContext(workspace, drop, snapshot=snapshot)
            rows.append(record(stage, context.drop_name, run_keys.KEYS[stage](context)))
    write_records(workspace.tables, rows)


def record(stage: str, drop: str, run_key: str) -> dict:
    """A row of the table `stages`."""
    zeros = dict.fromkeys(("input", "kept", "rejected", "failed", "units", "resumed"), 0)
    names = {"drop": drop, "stage": stage, "run_key": run_key, "output": f"{stage} of {drop}"}
    return {**names, **zeros, "seconds": 0.0, "published_at": datetime.now(UTC)}


def write_records(tables: Tables, rows: list[dict], where: str | None = None) -> None:
    """Replace the records that meet an SQL condition; None: all of them."""
    table = pa.Table.from_pylist(rows, schema=schema.STAGES)
    tables.replace(TABLE, schema.STAGES, table.to_batches(), where)


def measure(root: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of `isotrope run`."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "orchestration.cli.main", "run", "--corpus", str(root)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "up to date" in output, output
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("drops", type=int, nargs="+")
    for count in parser.parse_args().drops:
        with tempfile.TemporaryDirectory() as folder:
            make_corpus(Path(folder), count)
            seconds, processor = measure(Path(folder))
        print(f"{count:,} drops: {processor:.2f} s of processor time, {seconds:.1f} s")


if __name__ == "__main__":
    main()
