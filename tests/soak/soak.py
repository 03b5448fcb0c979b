"""Soak: runs of a small corpus with faults, which must end with the tables of an undisturbed run.

An episode begins with a new corpus, or goes on with one whose stages are out of date again. Each
fault hits a run at a random moment: a signal, a full disk, or a second and a third run of the same
corpus. Then one run without faults must succeed, and all rows must be equal.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from assets.corpus_check import check_corpus
from store.arrow import as_matrix
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config

ROOT = Path(__file__).resolve().parents[2]
FAULTS_OF_EPISODE = 6
_RUN_SECONDS = 900.0
_KEYS = ("drop", "id", "part_id", "split", "stage", "key", "sample_id", "modality")
_NOT_COMPARED = {"units", "resumed", "seconds", "published_at"}  # columns of `stages`
_CURATE = (
    "import sys\nfrom pathlib import Path\nfrom tests.helpers.stages import curate\n"
    "curate(Path(sys.argv[1]))"
)
_CURATED = ("samples", "signals", "duplicates", "decisions", "ledger", "stages")

Fault = Callable[[subprocess.Popen, random.Random], bool]


class Soak:
    """Faults on copies of one corpus.

    Args:
        folder: for corpora.
        faults: by name.
        whole: run all stages by `isotrope run`; otherwise those that need no Ray, without Dagster.
        seed: of the random moments and choices.
        samples: in each of two drops.

    Attributes:
        injected: how many faults of each kind were injected.
    """

    def __init__(
        self, folder: Path, faults: Mapping[str, Fault], whole: bool, seed: int, samples: int
    ):
        self.folder, self.faults, self.whole = folder, dict(faults), whole
        self.chance, self.injected = random.Random(seed), Counter[str]()
        self.undisturbed = folder / "undisturbed"
        config = CONFIG if whole else CONFIG + "engine: {signals: beam}\n"
        write_config(self.undisturbed, config)
        deliver(self.undisturbed / "drops" / "first", samples)
        deliver(self.undisturbed / "drops" / "second", samples, first=samples - 5)
        (self.undisturbed / "drops" / "first" / "broken.png").write_bytes(b"\x89PNG cut")
        shutil.copytree(self.undisturbed, folder / "delivered")
        started = time.monotonic()
        self._finish(self._start(self.undisturbed))
        self.seconds = time.monotonic() - started
        self.expected = self._content(self.undisturbed)

    def run(self, count: int) -> None:
        """Inject this many faults, in episodes of at most `FAULTS_OF_EPISODE`."""
        number = 0
        while (remaining := count - self.injected.total()) > 0:
            number += 1
            self.episode(f"episode-{number}", min(remaining, FAULTS_OF_EPISODE))

    def episode(self, name: str, count: int) -> None:
        """Inject faults into runs of a new corpus, then compare its tables."""
        root = shutil.copytree(self.folder / "delivered", self.folder / name)
        done = 0
        while done < count:
            kind = self.chance.choice([*self.faults, "writers"])
            if kind == "writers":
                runs = [self._start(root) for _ in range(self.chance.choice([2, 2, 3]))]
                for run in runs:
                    run.communicate(timeout=_RUN_SECONDS)
                is_injected = True
            else:
                run = self._start(root)
                time.sleep(self.chance.uniform(0, self.seconds))
                is_injected = run.poll() is None and self.faults[kind](run, self.chance)
                run.communicate(timeout=_RUN_SECONDS)
            if is_injected:
                done += 1
                self.injected[kind] += 1
            if run.returncode == 0:
                self._make_stale(root)
        self._finish(self._start(root))
        actual = self._content(root)
        assert actual.keys() == self.expected.keys()
        for table, rows in self.expected.items():
            _assert_equal(table, actual[table], rows)
        problems = [f for f in check_corpus(Workspace.open(root), deep=True) if not f.passed]
        assert problems == []
        shutil.rmtree(root)

    def _start(self, root: Path) -> subprocess.Popen:
        words = ["-m", "orchestration.cli.main", "run", "--corpus"]
        return subprocess.Popen(
            [sys.executable, *(words if self.whole else ["-c", _CURATE]), str(root)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _finish(self, run: subprocess.Popen) -> None:
        output, _ = run.communicate(timeout=_RUN_SECONDS)
        assert run.returncode == 0, output.decode()

    def _make_stale(self, root: Path) -> None:
        """Delete the records of a random drop, so that the next run has something to do."""
        drop = self.chance.choice(["first", "second"])
        tables = Workspace.open(root).tables
        tables.replace("stages", schema.STAGES, [], f"drop = '{drop}' OR drop = '*'")

    def _content(self, root: Path) -> dict[str, pa.Table]:
        tables = Workspace.open(root).tables
        names = [n for n in tables.names() if self.whole or n in _CURATED]
        left_out = {"releases", "directions__colours", "compared", "near_pairs", "minhashes"}
        return {
            name: _sorted(tables.open(name).to_table()) for name in names if name not in left_out
        }


def _sorted(rows: pa.Table) -> pa.Table:
    rows = rows.drop_columns([c for c in rows.schema.names if c in _NOT_COMPARED])
    keys = [name for name in _KEYS if name in rows.schema.names]
    return rows.sort_by([(key, "ascending") for key in keys])


def _assert_equal(table: str, actual: pa.Table, expected: pa.Table) -> None:
    """Rows are equal; vectors and biases of two runs differ in their last bits."""
    assert actual.num_rows == expected.num_rows, table
    for name in expected.schema.names:
        ours, theirs = actual[name], expected[name]
        if pa.types.is_fixed_size_list(theirs.type):
            assert np.allclose(as_matrix(ours), as_matrix(theirs), atol=1e-5), (table, name)
        elif pa.types.is_floating(theirs.type):
            pair = [column.to_numpy(zero_copy_only=False) for column in (ours, theirs)]
            assert np.allclose(*pair, atol=1e-5, equal_nan=True), (table, name)
        else:
            assert ours.to_pylist() == theirs.to_pylist(), (table, name)
