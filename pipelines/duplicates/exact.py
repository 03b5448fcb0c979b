"""Find exact duplicates: samples with the same content in several drops (Apache Beam).

The drop whose name comes first represents the others. Repeats within a drop never become rows of
`samples`: they are in the ledger.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import pyarrow as pa

from pipelines.engine.beam import ReadLance, collect_table
from store.tables import schema
from store.tables.staging import StageRun
from store.tables.table_version import TableVersion
from store.workspace import Workspace


def find_exact(workspace: Workspace, run: StageRun) -> pa.Table:
    """Rows of `duplicates` for all samples that are in several drops, the representatives too."""
    tables = workspace.tables
    samples = TableVersion(tables, "samples", tables.version("samples"))
    return collect_table(
        workspace.config.engine.beam,
        run.scratch / "clusters",
        schema.DUPLICATES,
        lambda p: (
            p
            | "Samples" >> ReadLance(samples, ["id", "drop"])
            | "ById" >> beam.Map(lambda r: (r["id"], r["drop"]))
            | "Group" >> beam.GroupByKey()
            | "Cluster" >> beam.FlatMap(_cluster)
        ),
    )


def _cluster(group: tuple[str, Iterable[str]]) -> Iterator[dict]:
    sample, drops = group
    first, *others = sorted(drops)
    if not others:
        return
    for drop in (first, *others):
        yield {
            "id": sample,
            "drop": drop,
            "cluster": sample,
            "kind": "exact",
            "representative": drop == first,
            "similarity": 1.0,
        }
