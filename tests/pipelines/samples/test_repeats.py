"""Samples that repeat another one are the same, whether DuckDB or Beam groups them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.growth import configure, write_drop
from pipelines.samples.repeats_in_drop import _LOCATION, _REPEATS, Repeats, _find_repeats
from pipelines.samples.repeats_on_beam import find_repeats
from store.config.engine import Beam, Engine
from store.tables.lance_tables import Tables
from store.tables.staging import StageRun, UnitOutcome, begin

SCHEMA = pa.schema([pa.field(name, pa.string()) for name in _LOCATION])


def stage(run: StageRun, rows: list[tuple[str, str, str]]) -> None:
    for number, start in enumerate(range(0, len(rows), 100)):
        own = rows[start : start + 100]
        columns = [list(column) for column in zip(*own, strict=True)]
        batch = pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=SCHEMA)
        run.append(f"unit {number}", [batch], lambda own=own: UnitOutcome(len(own), len(own), []))


def test_duckdb_and_beam_find_the_same_repeats(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (f"{rng.integers(0, 400):032x}", f"a/é{rng.integers(0, 3)}.tar", f"{rng.integers(0, 9)}")
        for _ in range(700)
    ]
    with begin(Tables(tmp_path), "samples", "k" * 16, SCHEMA, "d") as run:
        stage(run, rows)
        by_duckdb = _find_repeats(Engine(), run).to_pylist()
        by_beam = find_repeats(Beam(), run, _LOCATION, _REPEATS).to_pylist()

        def order(row: dict) -> tuple:
            return tuple(row[name] for name in _LOCATION)

        assert by_duckdb == sorted(by_beam, key=order)
        assert {row["same_location"] for row in by_duckdb} == {True, False}
        repeats = Repeats(Engine(), run)
        kept = pa.concat_tables(
            pa.Table.from_batches([repeats.without(batch)]) for batch in run.batches()
        )
    expected = {}
    for row in sorted(rows):
        expected.setdefault(row[0], row)
    assert sorted(zip(*kept.to_pydict().values(), strict=True)) == sorted(expected.values())
    assert len(repeats.entries) == len(rows) - len(expected)


def test_a_small_drop_imports_no_beam(tmp_path: Path) -> None:
    write_drop(tmp_path / "drops" / "small", range(20))
    configure(tmp_path, 5)
    code = (
        "import sys; from pathlib import Path; from tests.helpers.stages import curate;"
        f" workspace = curate(Path({str(tmp_path)!r}));"
        " assert workspace.tables.open('signals').count_rows() == 20;"
        " print('apache_beam' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.splitlines()[-1] == "False"
