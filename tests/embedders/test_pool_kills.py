"""Kill an actor, a worker that prepares, the process of a small drop, or the driver, by SIGKILL.

In each case the vectors must equal those of an undisturbed run.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine import encoding
from pipelines.samples.stage import ingest
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.vectors.stage import embed
from store.arrow import as_matrix
from store.tables.staging import Counts, stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 160
STEADY = CONFIG.replace("tests.helpers.corpus:ColourImage", "tests.helpers.corpus:SteadyImage")
VICTIMS = {
    "actor": "ray::EncoderActor",
    "worker": "ray::prepare",
    "process": "embedders.pool.one_process",
}
DRIVER = """
from pathlib import Path
from pipelines.engine import encoding
from pipelines.vectors import stage, staging_writer
from pipelines.stages.context import StageContext
from store.workspace import Workspace
staging_writer._SECONDS, staging_writer._SHARE = 0, 1e9
encoding.UNIT_PARTS["image"], encoding.ONE_PROCESS_PARTS = 16, 0
stage.embed(StageContext(Workspace.open(Path("{root}")), "a"))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Iterator[Path]:
    """A corpus with samples and signals, and beside it a copy that has vectors too."""
    root = tmp_path_factory.mktemp("kills") / "curated"
    write_config(root, STEADY)
    deliver(root / "drops" / "a", SAMPLES)
    workspace = Workspace.open(root)
    for name, drop in staleness.drops(workspace).items():
        ingest(StageContext(workspace, drop))
        measure(StageContext(workspace, name))
    shutil.copytree(root, root.with_name("embedded"))
    embed(StageContext(Workspace.open(root.with_name("embedded")), "a"))
    return root


def vectors(root: Path) -> dict[str, np.ndarray]:
    rows = Workspace.open(root).tables.open("vectors__colours").to_table()
    parts = rows["part_id"].to_pylist()
    assert len(parts) == len(set(parts)) == 2 * SAMPLES
    return dict(zip(parts, as_matrix(rows["vector"]), strict=True))


def kill_one(title: str, stop: threading.Event, killed: list[int]) -> None:
    """Wait for a descendant with `title` in its command line, and kill it."""
    while not stop.is_set():
        for pid, name in descendants(os.getpid()):
            if title in name:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.02)


def embed_and_kill_worker(root: Path, victim: str, delay: float) -> None:
    """Embed, and kill one of the pool's processes once, `delay` seconds after the start."""
    finished, killed = threading.Event(), []

    def wait_and_kill() -> None:
        if not finished.wait(delay):
            kill_one(VICTIMS[victim], finished, killed)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        assert embed(StageContext(Workspace.open(root), "a")) == Counts(2 * SAMPLES, 2 * SAMPLES)
    finally:
        finished.set()
        thread.join()
    assert killed


def kill_driver_and_embed(root: Path, share: float) -> None:
    """Kill an embedding process after one to four of its eleven commits, then embed again."""
    command = [sys.executable, "-c", DRIVER.format(root=root)]
    driver = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    staging = root / "tables" / "_staging"
    try:
        # A data file is written before its unit is complete, so records are counted.
        while len(list(staging.glob("vectors-*/*/units/*.jsonl"))) < 1 + int(4 * share):
            assert driver.poll() is None
            time.sleep(0.01)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert stage_record(Workspace.open(root).tables, "vectors", "a") is None
    assert embed(StageContext(Workspace.open(root), "a")) == Counts(2 * SAMPLES, 2 * SAMPLES)
    row = stage_record(Workspace.open(root).tables, "vectors", "a")
    assert row is not None
    assert row["resumed"] >= 1


def assert_survives(undisturbed: Path, folder: Path, victim: str, seed: int) -> None:
    """Embed a copy of the corpus, kill the victim at a random moment, and compare the vectors."""
    root = folder / f"{victim}-{seed}"
    shutil.copytree(undisturbed, root)
    chance = random.Random(seed).random()
    if victim == "driver":
        kill_driver_and_embed(root, chance)
    else:
        with pytest.MonkeyPatch.context() as patched:
            if victim != "process":
                patched.setattr(encoding, "ONE_PROCESS_PARTS", 0)
            embed_and_kill_worker(root, victim, chance if victim != "process" else 0)
    actual, expected = vectors(root), vectors(undisturbed.with_name("embedded"))
    assert actual.keys() == expected.keys()
    assert max(np.abs(actual[part] - expected[part]).max() for part in actual) < 1e-5


@pytest.mark.parametrize(
    "victim",
    ["worker", *(pytest.param(v, marks=pytest.mark.slow) for v in ("actor", "process", "driver"))],
)
def test_one_kill(undisturbed: Path, tmp_path: Path, victim: str) -> None:
    assert_survives(undisturbed, tmp_path, victim, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nine_kills(undisturbed: Path, tmp_path: Path) -> None:
    for seed in range(1, 10):
        assert_survives(undisturbed, tmp_path, ("actor", "worker", "driver")[seed % 3], seed)
