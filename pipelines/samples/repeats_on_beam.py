"""Groups the staged samples of a drop by content on a Beam runner whose workers share the work."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa

from pipelines.engine.beam import ReadLance, collect_table
from store.config.engine import Beam
from store.tables.staging import StageRun


def find_repeats(
    engine: Beam, run: StageRun, location: tuple[str, ...], columns: pa.Schema
) -> pa.Table:
    """The staged samples that repeat another one, in any order.

    Args:
        engine: the runner.
        run: the staging.
        location: the names of id, source and key.
        columns: these and `survivor` and `same_location`, as `Repeats` describes them.
    """

    def repeats(group: tuple[str, Iterable[tuple[str, str]]]) -> Iterator[dict]:
        sample, locations = group
        first, *others = sorted(locations)
        for other in others:
            row = dict(zip(location, (sample, *other), strict=True))
            yield row | {"survivor": "/".join(first), "same_location": other == first}

    return collect_table(
        engine,
        run.tables.files,
        f"{run.folder}/repeats",
        columns,
        lambda p: (
            p
            | "Staged" >> ReadLance(run.commit_rows(), list(location))
            | "ById" >> beam.Map(lambda r: (r["id"], (r["source"], r["key"])))
            | "Group" >> beam.GroupByKey()
            | "Repeats" >> beam.FlatMap(repeats)
        ),
    )
