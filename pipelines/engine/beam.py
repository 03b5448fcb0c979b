"""Apache Beam pipelines: run one, do the units of a stage, read Lance tables, collect results."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from zlib import crc32

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.engine.beam_workers import run_in_threads, run_watched
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Beam
from store.tables.files import Files
from store.tables.staging import StageRun
from store.tables.table_version import TableVersion

_PARTS = 16  # files of a collected table


def run_pipeline(engine: Beam, build: Callable[[beam.Pipeline], Any]) -> None:
    """Build a pipeline and run it to its end on the configured runner.

    Args:
        build: adds the transforms to an empty pipeline.

    Raises:
        CrashError: a local worker process died.
    """
    options = PipelineOptions.from_dictionary({"runner": engine.runner, **engine.options})
    pipeline = beam.Pipeline(options=options)
    build(pipeline)

    def run() -> None:
        pipeline.run().wait_until_finish()

    if engine.options.get("direct_running_mode") == "multi_processing":
        run_watched(run)
    else:
        run_in_threads(run)


class DoUnits(beam.DoFn):
    """Does units of a stage, commits each to staging, and outputs its name.

    Args:
        run: the stage's staging.
        work: makes the work of a unit; picklable.
        name: returns a unit's name; picklable.
    """

    def __init__(self, run: StageRun, work: Callable[[Any], Work], name: Callable[[Any], str]):
        self.run = run
        self.work = work
        self.name = name

    def process(self, unit: Any) -> Iterator[str]:
        name = self.name(unit)
        if self.run.is_done(name):  # the runner retried a bundle after the unit was committed
            return
        limit_retained_memory()
        work = self.work(unit)
        self.run.append(name, work, work.outcome)
        yield name


def run_on_beam(
    engine: Beam,
    run: StageRun,
    units: Iterable[Any],
    work: Callable[[Any], Work],
    name: Callable[[Any], str],
) -> None:
    """Do units in a Beam pipeline.

    Args:
        run: the stage's staging, which has none of the units.
        work: makes the work of a unit; picklable.
        name: returns a unit's name; picklable.
    """
    run_pipeline(
        engine,
        lambda p: (
            p
            | "Units" >> beam.Create(units, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Do" >> beam.ParDo(DoUnits(run, work, name))
        ),
    )


def collect_table(
    engine: Beam,
    files: Files,
    folder: str,
    columns: pa.Schema,
    build: Callable[[beam.Pipeline], Any],
) -> pa.Table:
    """Run a pipeline and return its output as a table.

    The rows pass through Parquet files beside the tables, where workers on other machines can
    write them. Every part is written, even without rows, so a missing one is an error.

    Args:
        files: of the corpus.
        folder: of the Parquet files, emptied first.
        columns: the schema of the table. Rows are divided into parts by the first column.
        build: adds the transforms; returns a collection of dictionaries with these columns.

    Raises:
        NotFoundError: a worker did not write its part where this process can read it.
    """
    files.delete_folder(folder)
    first = columns.names[0]

    def numbered(row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return crc32(str(row[first]).encode()) % _PARTS, row

    def write(part: tuple[int, Iterable[dict[str, Any] | None]]) -> None:
        rows = [row for row in part[1] if row is not None]
        out = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=columns), out)
        files.write(_part(folder, part[0]), out.getvalue().to_pybytes())

    def whole(pipeline: beam.Pipeline) -> Any:
        rows = build(pipeline) | "Number" >> beam.Map(numbered)
        empty = pipeline | "Parts" >> beam.Create([(n, None) for n in range(_PARTS)])
        parts = (rows, empty) | "Together" >> beam.Flatten() | "ByPart" >> beam.GroupByKey()
        return parts | "Write" >> beam.Map(write)

    run_pipeline(engine, whole)
    parts = [files.read(_part(folder, number)) for number in range(_PARTS)]
    return pa.concat_tables(pq.read_table(pa.BufferReader(part), schema=columns) for part in parts)


def _part(folder: str, number: int) -> str:
    return f"{folder}/{number}.parquet"


class ReadLance(beam.PTransform):
    """Reads the rows of a Lance table as dictionaries, one fragment at a time.

    Args:
        table: the version that all workers read.
        columns: to read. Leave out media columns that are not needed: they are large.
    """

    def __init__(self, table: TableVersion, columns: list[str]):
        super().__init__()
        self.table = table
        self.columns = columns

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        fragments = [fragment.fragment_id for fragment in self.table.open().get_fragments()]
        table, columns = self.table, self.columns

        def read(fragment_id: int) -> Iterator[dict[str, Any]]:
            fragment = table.open().get_fragment(fragment_id)
            for batch in fragment.to_batches(columns=columns):
                yield from batch.to_pylist()

        return (
            pipeline
            | "Fragments" >> beam.Create(fragments, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read)
        )
