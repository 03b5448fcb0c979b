"""Which rows of which table a takedown removes or changes."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.takedown.gallery_rows import without_samples
from pipelines.takedown.item_words import has_word, without_words
from pipelines.takedown.plan import Plan
from pipelines.takedown.repaired_captions import has_caption, without_repairs
from store import identity
from store.arrow import as_matrix
from store.tables.lance_tables import Tables
from store.tables.names import is_gallery, kind_of
from store.tables.purge import Rule, is_in, rows_of_all_versions
from store.tables.takedowns import hidden_key
from store.tables.words import WORDS

_BY_SAMPLE = ("samples", "signals")
_WITH_REPAIRS = ("pairs", "decisions")
_WITH_VECTORS = ("vectors", "features")
_BY_PART = (*_WITH_VECTORS, "tokens", "moment_vectors")
_OF_SAMPLES_AND_PARTS = ("banks", "pair_draws")
_BY_NODE = ("compared", "near_pairs", "minhashes")
_RECORD = ("drop", "source", "key")


def rule_of(tables: Tables, plan: Plan, name: str) -> Rule | None:
    """The rule for a table; None if nothing of a sample is in it."""
    kind, samples, parts = kind_of(name), plan.samples, plan.parts
    if kind in _BY_SAMPLE:
        return _with_values({"id": samples})
    if kind in _WITH_REPAIRS:
        return without_repairs(samples, parts)
    if kind in _BY_PART:
        return _with_values({"part_id": parts})
    if kind in _BY_NODE:
        both = samples | parts
        return _with_values({"node": both, "a": both, "b": both})
    if kind == "duplicates":
        return _with_values({"id": samples, "cluster": samples})
    if kind in _OF_SAMPLES_AND_PARTS:
        return _with_values({"sample_id": samples, "part_id": parts})
    if kind == "translations":
        return _with_values({"id": samples, "part_id": parts})
    if kind == "tallies":  # lists of hashes of parts, which the next release makes again
        return Rule(("direction",), lambda batch: pa.array([True] * batch.num_rows))
    if kind == "query_log":
        return Rule(("vector",), lambda batch: _has_vector(batch, plan.vectors))
    if kind == "ledger":
        return Rule((*_RECORD, "id", "value", "error"), lambda b: _is_named(b, plan), _cleared)
    if kind == "words":
        return _with_values({"word": plan.words})
    if is_gallery(name) or kind == "moments":
        return _of_gallery(tables, plan)
    return None


def _of_gallery(tables: Tables, plan: Plan) -> Rule:
    values = {"sample_ids": plan.samples, "part_id": plan.parts}
    edit = without_samples(tables, plan.samples, plan.parts)

    def matches(batch: pa.RecordBatch) -> pa.Array:
        named = pc.or_(is_in(batch, values), has_caption(batch, plan.parts))
        return pc.or_(named, has_word(batch, plan.words))

    return Rule(
        (*values, "caption", WORDS),
        matches,
        lambda batch: without_words(edit(batch), plan.words),
    )


def vector_hashes(tables: Tables, plan: Plan) -> frozenset[str]:
    """Hashes of all vectors of the parts that go, as `Plan.vectors` has them."""
    return frozenset(
        each
        for name in tables.names()
        if kind_of(name) in _WITH_VECTORS
        for batch in rows_of_all_versions(tables, name, ("part_id", "vector"))
        for each in _hashes(batch.filter(is_in(batch, {"part_id": plan.parts})))
    )


def _with_values(values: dict[str, frozenset[str]]) -> Rule:
    return Rule(tuple(values), lambda batch: is_in(batch, values))


def _hashes(batch: pa.RecordBatch) -> list[str]:
    return [identity.run_key(row.tobytes().hex()) for row in as_matrix(batch["vector"])]


def _has_vector(batch: pa.RecordBatch, hashes: frozenset[str]) -> pa.Array:
    return pa.array([each in hashes for each in _hashes(batch)], pa.bool_())


def _is_named(batch: pa.RecordBatch, plan: Plan) -> pa.Array:
    """Whether an entry of the ledger is of a record that goes, and was not cleared before."""
    joined = pc.binary_join_element_wise(*(batch[c] for c in _RECORD), "\n")
    names = pa.array(["\n".join(record) for record in sorted(plan.records)], pa.string())
    is_named = pc.or_(
        is_in(batch, {"id": plan.samples | plan.parts}), pc.is_in(joined, value_set=names)
    )
    is_cleared = pc.and_(pc.is_null(batch["value"]), pc.is_null(batch["error"]))
    is_cleared = pc.and_(is_cleared, pc.starts_with(batch["key"], hidden_key("")))
    return pc.and_(is_named, pc.invert(is_cleared))


def _cleared(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Entries without key, value and error: these can hold content."""
    names = [
        row["id"] or identity.run_key(row["drop"], row["source"], row["key"])
        for row in batch.select(["id", *_RECORD]).to_pylist()
    ]
    columns = {
        "key": pa.array(map(hidden_key, names), pa.string()),
        "value": pa.nulls(batch.num_rows, pa.string()),
        "error": pa.nulls(batch.num_rows, pa.string()),
    }
    arrays = [columns.get(name, batch[name]) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
