"""The rows that a Beam pipeline returns, by way of files beside the tables."""

from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest

from pipelines.engine.beam import collect_table
from store.config.engine import Beam
from store.errors import NotFoundError
from store.tables.files import Files

SCHEMA = pa.schema([("id", pa.string()), ("number", pa.int64())])


class WrittenElsewhere(Files):
    """Files of which a worker has others, as if its tables were a local folder of its machine."""

    def __reduce__(self) -> tuple:
        return Files, (f"{self.root}-of-the-worker",)


def numbers(p: beam.Pipeline) -> beam.PCollection:
    return (
        p
        | beam.Create([*range(100), 3, 3], reshuffle=False)
        | beam.Map(lambda n: {"id": f"é{n}", "number": n})
    )


@pytest.mark.parametrize("options", [{}, {"direct_running_mode": "multi_processing"}])
def test_all_rows_come_back_and_those_of_an_earlier_run_do_not(
    tmp_path: Path, options: dict
) -> None:
    files = Files(tmp_path)
    files.write("rows/3.parquet", b"of an earlier run")
    table = collect_table(Beam(options=options), files, "rows", SCHEMA, numbers)
    assert sorted(table["number"].to_pylist()) == sorted([*range(100), 3, 3])
    assert table.schema == SCHEMA


def test_no_rows_are_an_empty_table(tmp_path: Path) -> None:
    nothing = collect_table(
        Beam(), Files(tmp_path), "rows", SCHEMA, lambda p: p | beam.Create([], reshuffle=False)
    )
    assert nothing.num_rows == 0


def test_files_that_a_worker_wrote_elsewhere_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="parquet"):
        collect_table(Beam(), WrittenElsewhere(tmp_path / "tables"), "rows", SCHEMA, numbers)
