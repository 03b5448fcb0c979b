"""duplicates: samples whose content is in more than one drop (Apache Beam).

Global, over all drops, and independent of the order in which they arrived: of equal samples the
one whose drop's name comes first represents the others. (Within one drop, repeats never become
rows of `samples`: the ledger has them.)
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipelines import keys
from pipelines.beam import ReadLance, gather
from store import schema
from store.stage import Counts, begin, publish
from store.workspace import Workspace

STAGE = "duplicates"


def find_duplicates(workspace: Workspace) -> Counts:
    """Make the `duplicates` table from all drops' `samples`; kept = samples that are unique."""
    tables = workspace.tables
    key = keys.duplicates(workspace)
    with begin(tables, STAGE, key, schema.DUPLICATES) as run:
        samples = tables.open("samples")
        found = gather(
            workspace.config.engine.beam,
            run.folder / "clusters",
            schema.DUPLICATES,
            lambda p: (
                p
                | "Samples" >> ReadLance(samples.uri, ["id", "drop"], samples.version)
                | "ById" >> beam.Map(lambda r: (r["id"], r["drop"]))
                | "Group" >> beam.GroupByKey()
                | "Cluster" >> beam.FlatMap(_cluster)
            ),
        )
        total = samples.count_rows()
        extra = found.num_rows - sum(found["representative"].to_pylist())
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=total - extra, rejected=extra),
            entries=[],
            write=lambda: tables.replace(STAGE, schema.DUPLICATES, found.to_batches(), None),
            output=lambda: key,
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
