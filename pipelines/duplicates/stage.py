"""Make the table `duplicates`: exact copies, near-duplicates and contamination, over all drops.

The stage is global, and its result does not depend on the order in which drops arrived. Each
sample is lost at most once, by the first of these rules that applies:

1. It is near to a sample of an evaluation set (contaminated).
2. It is near to a better sample, its survivor. All of its copies in other drops are lost too.
3. It is a copy of a sample in a drop whose name comes first.

A sample that passes the policy's tests is never lost to one that does not, and none is lost to a
contaminated one.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.contamination import find_contaminated
from pipelines.duplicates.exact import find_exact
from pipelines.duplicates.near import find_near
from pipelines.duplicates.sample_facts import sample_facts
from pipelines.duplicates.survivors import NearPairs, elect_survivors, rank_samples
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.staging import Counts, Entry, begin, publish
from store.workspace import Workspace

STAGE = "duplicates"


def find_duplicates(context: StageContext) -> Counts:
    """Make the table `duplicates` from all drops.

    Returns:
        Counts of samples; kept are those that are not lost.

    Raises:
        NotFoundError: a drop has no signals yet, or there are no vectors to compare.
        SourceError: an evaluation set that corpus.yaml names does not exist.
        ConservationError: a sample is lost twice; nothing was published.
    """
    workspace, tables, settings = context.workspace, context.tables, context.config.duplicates
    key = run_keys.duplicates(context)
    with begin(tables, STAGE, key, schema.DUPLICATES) as run:
        exact = find_exact(workspace, run) if settings.exact else schema.DUPLICATES.empty_table()
        samples = sample_facts(workspace)
        contaminated, entries = _contaminated_rows(workspace, samples)
        near = find_near(context, samples)
        lost = pa.concat_tables([contaminated, _lost_rows(samples, near, contaminated)])
        lost = _in_every_drop(workspace, lost)
        exact = exact.filter(pc.invert(pc.is_in(exact["id"], value_set=_ids(lost))))
        rows = pa.concat_tables([exact, lost, _survivor_rows(samples, lost)])
        rows = rows.sort_by([(c, "ascending") for c in ("cluster", "kind", "drop", "id")])
        total = tables.open("samples").count_rows()
        all_lost = rows.filter(pc.invert(rows["representative"]))
        kept = total - all_lost.group_by(["drop", "id"]).aggregate([]).num_rows
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=kept, rejected=all_lost.num_rows),
            entries=entries,
            write=lambda: tables.replace(STAGE, schema.DUPLICATES, rows.to_batches(), None),
            output=lambda: key,
        )


def _contaminated_rows(workspace: Workspace, samples: pa.Table) -> tuple[pa.Table, list[Entry]]:
    """Rows of contaminated samples, in one drop each; and entries for unreadable records."""
    matches: dict[int, tuple[str, str, float]] = {}
    entries: list[Entry] = []
    for evaluation in workspace.config.decontaminate:
        found, unreadable = find_contaminated(workspace, samples, evaluation)
        entries += unreadable
        for row, (key, similarity) in found.items():
            matches.setdefault(
                row, (f"{schema.EVALUATION_PREFIX}{evaluation.name}", key, similarity)
            )
    kinds, keys, similarities = zip(*matches.values(), strict=True) if matches else ((), (), ())
    rows = np.array(list(matches), np.int64)
    return _rows(samples, rows, list(keys), list(kinds), list(similarities)), entries


def _lost_rows(samples: pa.Table, near: list[NearPairs], contaminated: pa.Table) -> pa.Table:
    """Rows of samples that are lost to a survivor, each in one drop."""
    is_contaminated = pc.is_in(samples["id"], value_set=_ids(contaminated)).to_numpy()
    near = [
        NearPairs(n.kind, np.where(is_contaminated, -1, n.nodes), n.parts, n.pairs) for n in near
    ]
    rank = rank_samples(
        samples["passes"].to_numpy(), samples["caption"].to_numpy(), samples["pixels"].to_numpy()
    )
    lost = elect_survivors(rank, near)
    kinds = [near[kind].kind for kind in lost.kind]
    survivors = samples["id"].take(pa.array(lost.survivor)).to_pylist()
    return _rows(samples, lost.sample, survivors, kinds, lost.similarity.tolist())


def _rows(
    samples: pa.Table, rows: np.ndarray, clusters: list, kinds: list, similarity: list
) -> pa.Table:
    """Rows of `duplicates` for lost samples."""
    lost = samples.take(pa.array(rows, pa.int64()))
    columns = {
        "id": lost["id"],
        "drop": lost["drop"],
        "cluster": pa.array(clusters, pa.string()),
        "kind": pa.array(kinds, pa.string()),
        "representative": pa.array([False] * len(rows), pa.bool_()),
        "similarity": pa.array(similarity, pa.float32()),
    }
    return pa.table(list(columns.values()), schema=schema.DUPLICATES)


def _in_every_drop(workspace: Workspace, lost: pa.Table) -> pa.Table:
    """The rows of `lost`, repeated for every drop that a sample is in."""
    samples = workspace.tables.scan("samples", schema.SAMPLES, ["id", "drop"])
    index = pc.index_in(samples["id"], value_set=_ids(lost)).combine_chunks()
    is_lost = pc.is_valid(index)
    rows = lost.take(index.filter(is_lost))
    column = lost.schema.get_field_index("drop")
    return rows.set_column(column, lost.schema.field(column), samples["drop"].filter(is_lost))


def _survivor_rows(samples: pa.Table, lost: pa.Table) -> pa.Table:
    """A row for each cluster and kind, of the sample that represents it.

    Clusters of contaminated samples have none: they are named after a sample of an evaluation.
    """
    groups = lost.select(["cluster", "kind"]).group_by(["cluster", "kind"]).aggregate([])
    ids = samples["id"].combine_chunks()
    is_sample = pc.is_valid(pc.index_in(groups["cluster"], value_set=ids))
    is_near = pc.invert(pc.starts_with(groups["kind"], schema.EVALUATION_PREFIX))
    groups = groups.filter(pc.and_(is_sample, is_near))
    sample_rows = pc.index_in(groups["cluster"], value_set=ids).to_numpy()
    clusters, kinds = groups["cluster"].to_pylist(), groups["kind"].to_pylist()
    rows = _rows(samples, sample_rows, clusters, kinds, [1.0] * len(kinds))
    column = rows.schema.get_field_index("representative")
    is_representative = pa.array([True] * len(kinds), pa.bool_())
    return rows.set_column(column, rows.schema.field(column), is_representative)


def _ids(rows: pa.Table) -> pa.Array:
    return rows["id"].combine_chunks()
