"""Apache Beam pipelines: run one, do the units of a stage, read Lance tables, collect results."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.engine.beam_workers import run_in_threads, run_watched
from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Beam
from store.tables.staging import StageRun
from store.tables.table_version import TableVersion


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
    engine: Beam, folder: Path, columns: pa.Schema, build: Callable[[beam.Pipeline], Any]
) -> pa.Table:
    """Run a pipeline and return its output as a table.

    The rows pass through Parquet files. The folder is emptied first, because a rerun may write
    fewer files.

    Args:
        folder: where the Parquet files are written.
        columns: the schema of the table.
        build: adds the transforms; returns a collection of dictionaries with these columns.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run_pipeline(
        engine,
        lambda p: build(p) | "Write" >> beam.io.WriteToParquet(str(folder / "part"), columns),
    )
    tables = [pq.read_table(file, schema=columns) for file in sorted(folder.glob("part*"))]
    return pa.concat_tables([columns.empty_table(), *tables])


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
