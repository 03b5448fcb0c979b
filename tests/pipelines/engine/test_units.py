"""Units of a stage that workers do, and where their rows are."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.engine.units import run_units
from store.config.engine import Engine
from store.errors import ConfigError
from store.tables.lance_tables import Tables
from store.tables.staging import StageRun, UnitOutcome

SCHEMA = pa.schema([pa.field("number", pa.int64())])


class WrittenElsewhere(Tables):
    """Tables of which a worker has others, in a folder of its own machine."""

    def __reduce__(self) -> tuple:
        return Tables, (f"{self.root}-of-the-worker",)


class OneRow:
    """The work of a unit: one row."""

    def __init__(self, number: int):
        self.number = number

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"number": [self.number]}, schema=SCHEMA)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(1, 1)


@pytest.mark.parametrize("engine", ["beam", "ray"])
def test_rows_that_are_not_where_the_tables_are(
    tmp_path: Path, engine: str, ray_cluster: None
) -> None:
    settings = Engine(signals=engine)
    run = StageRun(Tables(tmp_path / "tables"), "numbers", "a", "key", SCHEMA).open()
    run_units(settings, run, range(3), OneRow)
    assert sorted(run.staged()["number"].to_pylist()) == [0, 1, 2]
    elsewhere = WrittenElsewhere(tmp_path / "others")
    lost = StageRun(elsewhere, "numbers", "a", "key", SCHEMA).open()
    with pytest.raises(ConfigError, match="3 units, and the rows of 3 of them"):
        run_units(settings, lost, range(3), OneRow)
