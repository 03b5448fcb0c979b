"""What the Beam pipelines share: running one, doing units of a stage, reading Lance tables."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import lance
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.engine.memory import limit_retained_memory
from pipelines.engine.work import Work
from store.config.engine import Beam
from store.tables.staging import StageRun


def execute(engine: Beam, build: Callable[[beam.Pipeline], Any]) -> None:
    """Build a pipeline and run it to its end on the configured runner."""
    options = PipelineOptions.from_dictionary({"runner": engine.runner, **engine.options})
    pipeline = beam.Pipeline(options=options)
    build(pipeline)
    pipeline.run().wait_until_finish()


class DoUnits(beam.DoFn):
    """Does units of a stage and commits each to staging.

    Args:
        run: the stage's staging.
        work: makes the work of a unit; picklable.
        name: a unit's name.
    """

    def __init__(self, run: StageRun, work: Callable[[Any], Work], name: Callable[[Any], str]):
        self.run = run
        self.work = work
        self.name = name

    def process(self, unit: Any) -> Iterator[str]:
        name = self.name(unit)
        if name in self.run.done():  # the runner retried a bundle that had been committed
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
    """Do units, none of which staging has."""
    execute(
        engine,
        lambda p: (
            p
            | "Units" >> beam.Create(units, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Do" >> beam.ParDo(DoUnits(run, work, name))
        ),
    )


def gather(
    engine: Beam, folder: Path, columns: pa.Schema, build: Callable[[beam.Pipeline], Any]
) -> pa.Table:
    """Run a pipeline whose last collection holds dictionaries; return them as a table.

    They pass through Parquet files in `folder`, which is emptied first: a rerun may make fewer.
    """
    shutil.rmtree(folder, ignore_errors=True)
    execute(
        engine,
        lambda p: build(p) | "Write" >> beam.io.WriteToParquet(str(folder / "part"), columns),
    )
    parts = [pq.read_table(f, schema=columns) for f in sorted(folder.glob("part*"))]
    return pa.concat_tables([columns.empty_table(), *parts])


class ReadLance(beam.PTransform):
    """Rows of a Lance table as dictionaries, read fragment by fragment.

    Args:
        uri: the table.
        columns: those to read; media columns are large, name few.
        version: read this version, so that every worker sees the same rows.
    """

    def __init__(self, uri: str, columns: list[str], version: int | None = None):
        super().__init__()
        self.uri = uri
        self.columns = columns
        self.version = version

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        dataset = lance.dataset(self.uri, version=self.version)
        fragments = [f.fragment_id for f in dataset.get_fragments()]
        uri, columns, version = self.uri, self.columns, dataset.version

        def read(fragment: int) -> Iterator[dict[str, Any]]:
            opened = lance.dataset(uri, version=version).get_fragment(fragment)
            for batch in opened.to_batches(columns=columns):
                yield from batch.to_pylist()

        return (
            pipeline
            | "Fragments" >> beam.Create(fragments, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(read)
        )
