"""The stage: exact copies, near-duplicates and contamination of all drops, as one table.

Global, and independent of the order in which drops arrived. What is lost is lost once: to an
evaluation sample; else to the survivor of its near-duplicates, with all of its copies; else, where
it survives in several drops, to the first of them. A sample that passes the policy is never lost
to one that does not, nor any to one that is contaminated.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.contamination import contaminated
from pipelines.duplicates.exact import exact
from pipelines.duplicates.near import near
from pipelines.duplicates.sample_facts import sample_facts
from pipelines.duplicates.survivors import Near, elect, order
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.staging import Counts, Entry, begin, publish
from store.workspace import Workspace

STAGE = "duplicates"


def find_duplicates(context: StageContext) -> Counts:
    """Make the `duplicates` table from all drops; kept = samples that are lost to no other.

    Raises:
        NotFoundError: a drop has no signals yet, or there are no vectors to compare.
        SourceError: there is nothing where corpus.yaml says that evaluation samples are.
        ConservationError: a sample is lost twice; nothing was published.
    """
    workspace, tables, asked = context.workspace, context.tables, context.config.duplicates
    key = run_keys.duplicates(context)
    with begin(tables, STAGE, key, schema.DUPLICATES) as run:
        copies = exact(workspace, run) if asked.exact else schema.DUPLICATES.empty_table()
        samples = sample_facts(workspace)
        found, entries = _contaminated(workspace, samples)
        near_ones = near(context, samples)
        lost = pa.concat_tables([found, _lost(samples, near_ones, found)])
        lost = _every_copy(workspace, lost)
        copies = copies.filter(pc.invert(pc.is_in(copies["id"], value_set=_ids(lost))))
        whole = pa.concat_tables([copies, lost, _survivors(samples, lost)])
        whole = whole.sort_by([(c, "ascending") for c in ("cluster", "kind", "drop", "id")])
        total = tables.open("samples").count_rows()
        gone = whole.filter(pc.invert(whole["representative"]))
        kept = total - gone.group_by(["drop", "id"]).aggregate([]).num_rows
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=kept, rejected=gone.num_rows),
            entries=entries,
            write=lambda: tables.replace(STAGE, schema.DUPLICATES, whole.to_batches(), None),
            output=lambda: key,
        )


def _contaminated(workspace: Workspace, samples: pa.Table) -> tuple[pa.Table, list[Entry]]:
    rows: dict[int, tuple[str, str, float]] = {}
    entries: list[Entry] = []
    for evaluation in workspace.config.decontaminate:
        found, bad = contaminated(workspace, samples, evaluation)
        entries += bad
        for row, (key, similarity) in found.items():
            rows.setdefault(row, (f"{schema.EVALUATION}{evaluation.name}", key, similarity))
    kinds, keyed, similar = zip(*rows.values(), strict=True) if rows else ((), (), ())
    places = np.array(list(rows), np.int64)
    return _rows(samples, places, list(keyed), list(kinds), list(similar)), entries


def _lost(samples: pa.Table, near_ones: list[Near], found: pa.Table) -> pa.Table:
    apart = pc.is_in(samples["id"], value_set=_ids(found)).to_numpy()
    near_ones = [Near(n.kind, np.where(apart, -1, n.nodes), n.parts, n.pairs) for n in near_ones]
    rank = order(
        samples["passes"].to_numpy(), samples["caption"].to_numpy(), samples["pixels"].to_numpy()
    )
    lost = elect(rank, near_ones)
    kinds = [near_ones[kind].kind for kind in lost.kind]
    survivors = samples["id"].take(pa.array(lost.survivor)).to_pylist()
    return _rows(samples, lost.sample, survivors, kinds, lost.similarity.tolist())


def _rows(
    samples: pa.Table, places: np.ndarray, clusters: list, kinds: list, similarity: list
) -> pa.Table:
    here = samples.take(pa.array(places, pa.int64()))
    columns = {
        "id": here["id"],
        "drop": here["drop"],
        "cluster": pa.array(clusters, pa.string()),
        "kind": pa.array(kinds, pa.string()),
        "representative": pa.array([False] * len(places), pa.bool_()),
        "similarity": pa.array(similarity, pa.float32()),
    }
    return pa.table(list(columns.values()), schema=schema.DUPLICATES)


def _every_copy(workspace: Workspace, lost: pa.Table) -> pa.Table:
    """The rows of `lost` for every drop that a sample is in."""
    samples = workspace.tables.scan("samples", schema.SAMPLES, ["id", "drop"])
    place = pc.index_in(samples["id"], value_set=_ids(lost)).combine_chunks()
    there = pc.is_valid(place)
    rows = lost.take(place.filter(there))
    at = lost.schema.get_field_index("drop")
    return rows.set_column(at, lost.schema.field(at), samples["drop"].filter(there))


def _survivors(samples: pa.Table, lost: pa.Table) -> pa.Table:
    """A row a cluster and kind, of the sample that represents it."""
    some = lost.select(["cluster", "kind"]).group_by(["cluster", "kind"]).aggregate([])
    place = pc.index_in(some["cluster"], value_set=samples["id"].combine_chunks())
    stands = pc.invert(pc.starts_with(some["kind"], schema.EVALUATION))
    some = some.filter(pc.and_(pc.is_valid(place), stands))
    place = pc.index_in(some["cluster"], value_set=samples["id"].combine_chunks())
    kinds = some["kind"].to_pylist()
    rows = _rows(samples, place.to_numpy(), some["cluster"].to_pylist(), kinds, [1.0] * len(kinds))
    at = rows.schema.get_field_index("representative")
    return rows.set_column(at, rows.schema.field(at), pa.array([True] * len(kinds), pa.bool_()))


def _ids(rows: pa.Table) -> pa.Array:
    return rows["id"].combine_chunks()
