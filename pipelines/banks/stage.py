"""Draw the banks: the fixed samples of queries and items that corrections are fitted on.

Pairs of the corpus are divided into three splits: corrections are fitted on `bank`, chosen on
`validation` and tested on `test`. Queries of other origins, which `query_bank` of corpus.yaml may
name, are in the splits `queries` and `reference`.

The split of a cluster depends on a hash of the cluster and the seed, and so does which pairs are
taken if there are more than needed. So the draw does not depend on the order of arrival.
"""

import heapq
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any, TypeAlias

import lance
import pyarrow as pa
import pyarrow.compute as pc

from embedders.spaces import Space
from pipelines.banks import reuse
from pipelines.banks.bridged_queries import bridged_queries
from pipelines.banks.corpus_matches import CorpusIndex
from pipelines.banks.query_files import OriginQueries
from pipelines.banks.query_origins import draw_origin, read_origins
from pipelines.decisions.kept_samples import KeptSamples, kept_samples
from pipelines.engine.embedded_parts import add_vector_rows
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corrections import Corrections
from store.identity import uniform_number
from store.tables import schema
from store.tables.banks import MIN_BANK_SIZE, PAIR_SPLITS, digest_rows
from store.tables.lance_tables import quote
from store.tables.names import bank_table, vectors_table
from store.tables.staging import Counts, begin, publish
from store.tables.table_version import TableVersion, take_rows

STAGE = "banks"
_Members: TypeAlias = dict[str, list[tuple[float, str, dict]]]  # pairs by split: share, id, pair
_QUERY_ROWS = 5_000  # of validation and test: more pairs hardly narrow the intervals


def draw_banks(context: StageContext) -> Counts:
    """Make the table `banks__{space}`.

    The last banks are reused while they are valid (`pipelines.banks.reuse`), unless the context is
    forced. The output of the stage is a digest of the rows, so banks that are drawn anew and come
    out the same leave the later stages up to date.

    Returns:
        Counts of samples, kept if a pair of theirs is in a split, and of queries of other origins.

    Raises:
        NotFoundError: the file of queries does not exist.
        InputError, ConfigError: it is not what its suffix says.
        EncoderError: its vectors, or all logged ones, are not of this space and its encoders.
    """
    tables, space = context.tables, context.space
    settings, key = context.config.corrections, run_keys.banks(context)
    vectors_name = vectors_table(space.name)
    version = TableVersion(tables, vectors_name, tables.version(vectors_name))
    vectors = version.open()
    columns = schema.banks(vectors.schema.field("vector").type.list_size)
    fingerprints = context.fingerprints
    with (
        begin(tables, context.name_of(STAGE), key, columns) as run,
        kept_samples(context.workspace, run.scratch) as samples,
    ):
        resumed = len(run.done())
        name, draw_key = bank_table(space.name), run_keys.bank_settings(context)
        add_pairs = cache(partial(_add_pairs, samples, version, fingerprints))

        def bank_size() -> int:
            add_pairs()
            return _bank_size(samples, settings)

        last = reuse.last_banks(tables, name) if not context.forced else None
        most = settings.bank_rows
        rows = reuse.reusable_banks(last, draw_key, samples, most, bank_size)
        origins: list[OriginQueries] = []
        write: Callable[[], Any] = _keep
        if rows is not None and not rows.equals(last):
            write = partial(reuse.write_clusters, tables, name, columns, rows)
        if rows is None:
            add_pairs()
            pairs = _split_pairs(samples, settings)
            of_corpus = _corpus_rows(pairs, vectors, fingerprints, columns, draw_key)
            held_out = {s["cluster"] for split in PAIR_SPLITS[1:] for s in pairs[split]}
            corpus = CorpusIndex(samples, vectors, fingerprints, frozenset(held_out))
            origins = read_origins(context, columns.field("vector").type.list_size)
            drawn = (draw_origin(context, run, corpus, origin) for origin in origins)
            queries = pa.concat_tables([columns.empty_table(), *drawn])
            joined = _joined_modalities(queries, space, always="corpus" in settings.query_bank)
            added = _added_to_queries(of_corpus, joined - space.bridged.keys())
            rows = pa.concat_tables([of_corpus, queries, added])
            if space.bridged:
                bridged, origin = bridged_queries(context, of_corpus, joined)
                rows = pa.concat_tables([rows, bridged])
                origins.append(origin)
            write = partial(tables.replace, name, columns, rows.to_batches(), None)
        in_splits = rows.filter(pc.is_in(rows["split"], value_set=pa.array(PAIR_SPLITS)))
        paired = len(pc.unique(in_splits["sample_id"]))
        kept_queries = sum(o.input - o.rejected - o.failed for o in origins)
        return publish(
            tables,
            run,
            counts=Counts(
                input=samples.count + sum(o.input for o in origins),
                kept=paired + kept_queries,
                rejected=samples.count - paired + sum(o.rejected for o in origins),
                failed=sum(o.failed for o in origins),
            ),
            entries=[entry for o in origins for entry in o.entries],
            write=write,
            output=lambda: digest_rows(rows),
            resumed=resumed,
        )


def _keep() -> None:
    """Write nothing: the last banks stay as they are."""


def _add_pairs(samples: KeptSamples, vectors: TableVersion, fingerprints: dict[str, str]) -> None:
    """Add the scratch table `pairs`: kept samples with at least two embedded parts.

    Its columns are id, cluster, and for each modality `{m}_id` and `{m}_row`, the row id of the
    vector that the current encoder made; both are null if there is none.
    """
    current = " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(f)})" for m, f in fingerprints.items()
    )
    ids, scratch = ", ".join(f"{m}_id" for m in fingerprints), samples.scratch
    scratch.create("pairs", f"SELECT id, cluster, {ids} FROM kept WHERE in_range(id)", kept="id")
    add_vector_rows(scratch, "pairs", vectors, current, fingerprints)
    present = " + ".join(f"({m}_row IS NOT NULL)::INT" for m in fingerprints)
    paired = f"FROM pairs WHERE {present} >= 2 AND in_range(id)"
    scratch.create("pairs", paired, pairs="id")


def _split_of(share: float, settings: Corrections) -> str:
    if share < settings.bank_share:
        return "bank"
    return "validation" if share < 1 - settings.test_share else "test"


def _bank_size(samples: KeptSamples, settings: Corrections) -> int:
    """The number of pairs that a bank drawn now would have."""
    count = 0
    for members in samples.scratch.fold(partial(_members, settings), "pairs"):
        count += len(members["bank"])
        if count >= settings.bank_rows:
            return settings.bank_rows
    return count


def _split_pairs(samples: KeptSamples, settings: Corrections) -> dict[str, list[dict]]:
    """Pairs by split, each split in the order of its clusters' hashes and cut to its size."""
    limits = _limits(settings)
    members: _Members = {split: [] for split in PAIR_SPLITS}
    for of_block in samples.scratch.fold(partial(_members, settings), "pairs"):
        for split, limit in limits.items():
            ranked = members[split] + of_block[split]
            members[split] = _smallest(ranked, limit) if len(ranked) > 2 * limit else ranked
    return {
        split: [pair for _, _, pair in _smallest(members[split], limit)]
        for split, limit in limits.items()
    }


def _members(settings: Corrections, pairs: pa.Table) -> _Members:
    """Of each split the first pairs of a block."""
    members: _Members = {split: [] for split in PAIR_SPLITS}
    for pair in pairs.to_pylist():
        share = uniform_number(pair["cluster"], settings.seed)
        members[_split_of(share, settings)].append((share, pair["id"], pair))
    return {split: _smallest(members[split], limit) for split, limit in _limits(settings).items()}


def _smallest(members: list[tuple[float, str, dict]], limit: int) -> list[tuple[float, str, dict]]:
    return heapq.nsmallest(limit, members, key=lambda member: member[:2])


def _limits(settings: Corrections) -> dict[str, int]:
    return {"bank": settings.bank_rows, "validation": _QUERY_ROWS, "test": _QUERY_ROWS}


def _corpus_rows(
    pairs: dict[str, list[dict]],
    vectors: lance.LanceDataset,
    fingerprints: dict[str, str],
    columns: pa.Schema,
    draw_key: str,
) -> pa.Table:
    """A row for every embedded part of the samples in the splits."""
    row_of: dict[str, int] = {}
    for members in pairs.values():
        for s in members:
            row_of |= {s[f"{m}_id"]: s[f"{m}_row"] for m in fingerprints if s[f"{m}_id"]}
    rows = [
        {
            "split": split,
            "modality": m,
            "part_id": s[f"{m}_id"],
            "sample_id": s["id"],
            "cluster": s["cluster"],
            "origin": "corpus",
            "encoder": fingerprint,
            "draw": draw_key,
        }
        for split, members in pairs.items()
        for s in members
        for m, fingerprint in fingerprints.items()
        if s[f"{m}_id"]
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(columns)[:-1]))
    row_ids = [row_of[part] for part in table["part_id"].to_pylist()]
    taken = take_rows(vectors, row_ids, ["vector"])["vector"].combine_chunks()
    return table.append_column(columns.field("vector"), taken).cast(columns)


def _joined_modalities(queries: pa.Table, space: Space, *, always: bool) -> set[str]:
    """The modalities whose parts in the corpus's bank are also put in the split `queries`.

    They join queries of other origins, or those of a bridge: always, or where the other origins
    have fewer than `MIN_BANK_SIZE`.
    """
    of_origins = queries.filter(pc.equal(queries["split"], "queries"))
    counts = dict.fromkeys(space.bridged, 0) | {
        row["values"]: row["counts"] for row in pc.value_counts(of_origins["modality"]).to_pylist()
    }
    return {m for m, count in counts.items() if always or count < MIN_BANK_SIZE}


def _added_to_queries(corpus: pa.Table, joined: Collection[str]) -> pa.Table:
    """Rows of the corpus's bank, of some modalities, in the split `queries`."""
    bank = corpus.filter(
        pc.and_(
            pc.equal(corpus["split"], "bank"),
            pc.is_in(corpus["modality"], value_set=pa.array(sorted(joined), pa.string())),
        )
    )
    column = corpus.schema.get_field_index("split")
    return bank.set_column(
        column, corpus.field("split"), pa.array(["queries"] * bank.num_rows, pa.string())
    )
