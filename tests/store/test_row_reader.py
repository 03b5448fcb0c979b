"""Rows that are computed while Lance writes them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from store.tables.row_reader import row_reader

SCHEMA = pa.schema([("n", pa.int64())])

# A factorisation on several cores needs more stack than Lance's threads have.
FACTORISE = """
import sys, lance, numpy as np, pyarrow as pa
from store.tables.row_reader import row_reader

def rows():
    for n in range(3):
        matrix = np.random.default_rng(n).standard_normal((512, 512)) + 512 * np.eye(512)
        np.linalg.inv(matrix)
        yield pa.record_batch({"n": [n]})

schema = pa.schema([("n", pa.int64())])
lance.fragment.write_fragments(row_reader(schema, rows()), sys.argv[1], schema=schema)
"""


def batches(count: int) -> Iterator[pa.RecordBatch]:
    for n in range(count):
        yield pa.record_batch({"n": [n]})


def test_matrices_are_factorised_while_rows_are_written(tmp_path: Path) -> None:
    environment = {"OPENBLAS_NUM_THREADS": "4", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", FACTORISE, str(tmp_path / "t.lance")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_batches_are_made_one_at_a_time_on_one_thread_of_python(tmp_path: Path) -> None:
    threads = []

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in batches(5):
            threads.append(threading.current_thread())
            yield batch

    fragments = lance.fragment.write_fragments(
        row_reader(SCHEMA, rows()), str(tmp_path / "t.lance"), schema=SCHEMA
    )
    assert sum(f.physical_rows for f in fragments) == 5
    assert len(set(threads)) == 1
    assert not threads[0].is_alive()
    # Python makes a dummy for a thread that it has not started.
    assert not isinstance(threads[0], threading._DummyThread)


def test_an_error_of_the_rows_reaches_the_writer_and_ends_the_thread(tmp_path: Path) -> None:
    before = threading.active_count()

    def rows() -> Iterator[pa.RecordBatch]:
        yield from batches(2)
        raise ValueError("row 3 is broken")

    with pytest.raises(OSError, match="row 3 is broken"):
        lance.fragment.write_fragments(
            row_reader(SCHEMA, rows()), str(tmp_path / "t.lance"), schema=SCHEMA
        )
    assert threading.active_count() == before
    reader = row_reader(SCHEMA, batches(9))
    assert reader.read_next_batch()["n"].to_pylist() == [0]
    del reader
    assert threading.active_count() == before
