"""SIGKILL of a real `isotrope run` while it embeds: the next run loses and repeats nothing."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from store.arrow import as_matrix
from store.tables import schema
from store.tables.staging import StageRun, stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, DIM, deliver, write_config

ROOT = Path(__file__).resolve().parents[2]
SLOW = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SlowImage")


def start_run(root: Path, log: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ENCODED_LOG": str(log)}
    words = [sys.executable, "-m", "orchestration.cli.main", "run", "--corpus", str(root)]
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def vectors(root: Path) -> dict[str, np.ndarray]:
    rows = Workspace.open(root).tables.open("vectors__colours").to_table()
    parts = rows["part_id"].to_pylist()
    assert len(parts) == len(set(parts))
    return dict(zip(parts, as_matrix(rows["vector"]), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_while_embedding(tmp_path: Path) -> None:
    for name in ("killed", "undisturbed"):
        write_config(tmp_path / name, SLOW)
        deliver(tmp_path / name / "drops" / "a", 320)
    log = tmp_path / "encoded.log"
    run = start_run(tmp_path / "killed", log)
    staging = tmp_path / "killed" / "tables" / "_staging"
    deadline = time.monotonic() + 240
    # A data file exists before its unit is complete.
    while len(list(staging.glob("vectors-*/*/units/*.jsonl"))) < 2:
        assert run.poll() is None, run.stderr and run.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    tables = Workspace.open(tmp_path / "killed").tables
    assert stage_record(tables, "vectors", "a") is None
    (folder,) = staging.glob("vectors-*/*")
    unfinished = StageRun(tables, "vectors", "a", folder.name, schema.vectors(DIM))
    finished_parts = unfinished.staged(["part_id"])["part_id"].to_pylist()
    assert len(finished_parts) >= 2 * 64

    resumed = start_run(tmp_path / "killed", log)
    assert resumed.wait() == 0, resumed.stderr and resumed.stderr.read().decode()
    row = stage_record(Workspace.open(tmp_path / "killed").tables, "vectors", "a")
    assert row is not None
    assert row["resumed"] >= 2
    assert row["input"] == row["kept"] == 640

    undisturbed = start_run(tmp_path / "undisturbed", tmp_path / "other.log")
    assert undisturbed.wait() == 0, undisturbed.stderr and undisturbed.stderr.read().decode()
    resumed_vectors, expected = vectors(tmp_path / "killed"), vectors(tmp_path / "undisturbed")
    assert resumed_vectors.keys() == expected.keys()
    differences = (np.abs(resumed_vectors[k] - expected[k]).max() for k in expected)
    assert max(differences) < 1e-5
    for table, columns in (
        ("samples", ["drop", "id", "key", "text", "image"]),
        ("signals", schema.SIGNALS.names),
        ("decisions", ["drop", "id", "keep", "rule"]),
        ("gallery__colours__image", ["part_id", "id", "sample_ids", "caption"]),
    ):
        pair = [
            Workspace.open(tmp_path / n).tables.open(table).to_table(columns=columns)
            for n in ("killed", "undisturbed")
        ]
        first, second = (t.sort_by("id").to_pylist() for t in pair)
        assert first == second

    # The parts of a finished unit were encoded once.
    encoded = Counter(log.read_text().split())
    assert len(encoded) == 320
    samples = tables.open("samples").to_table(columns=["image_id", "key"]).to_pylist()
    number = {row["image_id"]: int(row["key"].rpartition("-")[2]) for row in samples}
    for part in finished_parts:
        assert encoded[f"{number[part] // 256}-{number[part] % 256}"] == 1
