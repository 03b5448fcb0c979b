"""Draw query banks from other origins than the corpus: a file of queries, and the query log.

Every query is accounted for: it is in the table of banks, or the ledger says why it is not.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.pool.pool import Pool, UnitResult
from pipelines.banks.corpus_matches import CorpusIndex, MatchedQuery, match_corpus
from pipelines.banks.query_files import OriginQueries, read_queries, vector_query
from pipelines.engine.progress import show_progress
from pipelines.stages import run_keys
from pipelines.stages.config_files import queries_file
from pipelines.stages.context import StageContext
from store import identity
from store.arrow import as_matrix, vector_column
from store.config.corrections import Corrections
from store.errors import EncoderError
from store.identity import uniform_number
from store.search import query_log
from store.tables.staging import Entry, StageRun, UnitOutcome

LEAST_REFERENCE = 200  # queries; skewness over fewer is too noisy to compare
_MOST_REFERENCE = 5_000
_UNIT_QUERIES = 64


def read_origins(context: StageContext, dim: int) -> list[OriginQueries]:
    """Read the queries of every origin in `query_bank` other than the corpus.

    Args:
        dim: of the space's vectors.

    Raises:
        NotFoundError: the file of queries does not exist.
        ConfigError, InputError: it is not what its suffix says.
        EncoderError: its vectors were made in another space or by another encoder; or so were all
            logged vectors of a modality, and no other origin has queries of that modality.
    """
    space, origins = context.space, context.config.corrections.query_bank
    results = []
    if "file" in origins:
        path = queries_file(context.workspace)
        results.append(read_queries(path, space, context.config.limits, dim))
    if "log" in origins:
        in_files = {query.modality for result in results for query in result.queries}
        results.append(_read_log(context, space.towers if "corpus" in origins else in_files))
    return results


def _read_log(context: StageContext, other_modalities: Iterable[str]) -> OriginQueries:
    """Read the query log; vectors of other spaces and encoders become entries for the ledger.

    Args:
        other_modalities: those that other origins have queries of.
    """
    space, tables, settings = context.space, context.tables, context.config.query_log
    query_log.delete_expired(tables, space.name, settings)
    rows = query_log.read(tables, space.name, settings)
    result, foreign = OriginQueries("log", rows.num_rows), Counter[tuple[str, str, str]]()
    kinds = zip(*(rows[n].to_pylist() for n in ("space", "fingerprint", "modality")), strict=True)
    expected = context.query_fingerprints
    for number, (kind, vector) in enumerate(zip(kinds, as_matrix(rows["vector"]), strict=True), 1):
        logged_space, fingerprint, modality = kind
        if logged_space == space.name and fingerprint == expected.get(modality):
            result.queries.append(vector_query(f"log:{number}", modality, vector))
        else:
            foreign[kind] += 1
    modalities = {*other_modalities, *(query.modality for query in result.queries)}
    for (logged_space, fingerprint, modality), count in sorted(foreign.items()):
        current = expected.get(modality)
        if current is not None and modality not in modalities:
            raise EncoderError(
                f"the {count} {modality} queries of the query log were made in space"
                f" {logged_space!r} by {fingerprint}; this corpus needs those of space"
                f" {space.name!r} by {current}. Until such queries have been logged, set"
                " corrections.query_bank: [corpus, log]"
            )
        entry = Entry("log", f"{count} {modality} queries", "bank.fingerprint")
        value = f"{logged_space}: {fingerprint}"
        result.exclude(replace(entry, value=value, threshold=current), count)
    return result


def draw_origin(
    context: StageContext, run: StageRun, corpus: CorpusIndex, origin: OriginQueries
) -> pa.Table:
    """Draw the rows that one origin adds to the banks, encoding queries that have no vector.

    Of each modality a share of the queries is kept out of the bank, in the split `reference`, if
    that share is at least `LEAST_REFERENCE` queries. Drift is measured against these, since no
    correction was fitted to them.

    Args:
        run: the stage run; encoded queries are staged in it.
        corpus: what queries are matched with.
        origin: the queries; those that are not used are excluded from it.

    Returns:
        Rows with the schema of `run`.
    """
    rows, key = [run.schema.empty_table()], run_keys.bank_settings(context)
    for modality in sorted(context.space.towers):
        queries = [query for query in origin.queries if query.modality == modality]
        matched = match_corpus(corpus, modality, queries)
        usable = _distinct(origin, modality, _not_held_out(origin, corpus, matched))
        drawn = _assign_splits(context.config.corrections, origin, modality, usable)
        fingerprint = context.query_fingerprints[modality]
        with_vector = [row for row in drawn if row.query.vector is not None]
        vectors = np.array([row.query.vector for row in with_vector], np.float32)
        batch = _batch(run.schema, fingerprint, key, with_vector, vectors)
        rows.append(pa.Table.from_batches([batch]))
        without_vector = [row for row in drawn if row.query.vector is None]
        rows.append(_encode(context, modality, run, origin, without_vector))
    return pa.concat_tables(rows)


def _not_held_out(
    origin: OriginQueries, corpus: CorpusIndex, queries: list[MatchedQuery]
) -> list[MatchedQuery]:
    """Exclude queries that are parts of validation or test pairs: no bank may contain these."""
    kept = []
    for row in queries:
        if row.cluster not in corpus.held_out:
            kept.append(row)
            continue
        entry = Entry(origin.origin, row.query.key, "bank.held_out", id=row.part_id)
        origin.exclude(replace(entry, value="part of a validation or test pair"))
    return kept


def _distinct(
    origin: OriginQueries, modality: str, queries: list[MatchedQuery]
) -> list[MatchedQuery]:
    """Keep the first query of each part id."""
    distinct = list({row.part_id: row for row in reversed(queries)}.values())
    if repeats := len(queries) - len(distinct):
        entry = Entry(origin.origin, f"{repeats} {modality} queries", "bank.repeated")
        origin.exclude(replace(entry, value=f"{len(distinct)} distinct queries"), repeats)
    return distinct


def _assign_splits(
    settings: Corrections, origin: OriginQueries, modality: str, queries: list[MatchedQuery]
) -> list[MatchedQuery]:
    """Draw the rows of the splits `queries` (the bank) and `reference`, by hashes of part ids."""
    ordered = sorted(queries, key=lambda row: uniform_number(row.part_id, settings.seed))
    share = round(len(ordered) * settings.test_share)
    end = len(ordered) - (share if share >= LEAST_REFERENCE else 0)
    bank = ordered[:end][: settings.bank_rows]
    reference = ordered[end:][:_MOST_REFERENCE]
    if surplus := len(ordered) - len(bank) - len(reference):
        entry = Entry(origin.origin, f"{surplus} {modality} queries", "bank.rows")
        limit = f"{settings.bank_rows} in the bank, {_MOST_REFERENCE} to measure drift"
        origin.exclude(replace(entry, value=str(len(ordered)), threshold=limit), surplus)
    name = origin.origin
    return [replace(row, split="queries", origin=name) for row in bank] + [
        replace(row, split="reference", origin=name) for row in reference
    ]


@dataclass(frozen=True)
class LoadQueries:
    """Loads a unit of queries (part id, text or file) in a CPU task of the pool."""

    queries: tuple[tuple[str, str | Path], ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        return [(i, raw.read_bytes() if isinstance(raw, Path) else raw) for i, raw in self.queries]


def _encode(
    context: StageContext,
    modality: str,
    run: StageRun,
    origin: OriginQueries,
    queries: list[MatchedQuery],
) -> pa.Table:
    """Rows of queries that the space's encoder embeds, staged unit by unit."""
    if not queries:
        return run.schema.empty_table()
    by_part = {row.part_id: row for row in queries}
    key = run_keys.bank_settings(context)
    fingerprint, done = context.query_fingerprints[modality], set(run.done())
    units = []
    for start in range(0, len(queries), _UNIT_QUERIES):
        members = queries[start : start + _UNIT_QUERIES]
        load = LoadQueries(tuple((row.part_id, row.query.raw or "") for row in members))
        members_key = identity.run_key([row.part_id for row in members])
        units.append((f"{modality}-{members_key[:16]}", load))

    def stage(result: UnitResult) -> None:
        entries = [
            Entry.of(origin.origin, by_part[part].query.key, error, id=part)
            for part, error in result.failed
        ]
        outcome = UnitOutcome(len(result.ids) + len(entries), len(result.ids), entries)
        rows = [by_part[part] for part in result.ids]
        batch = _batch(run.schema, fingerprint, key, rows, result.vectors)
        run.append(result.name, [batch], lambda: outcome)

    if todo := [unit for unit in units if unit[0] not in done]:
        ray = context.config.engine.ray
        with (
            show_progress(run, len(done) + len(todo), f"units of {modality} queries"),
            Pool(context.space.query_towers[modality], **ray.of_actors()) as pool,
        ):
            for result in pool.map(todo):
                stage(result)
    for entry in run.entries():
        if entry.id in by_part:
            origin.exclude(entry)
    staged = run.staged()
    return staged.filter(pc.is_in(staged["part_id"], value_set=pa.array(list(by_part))))


def _batch(
    columns: pa.Schema,
    fingerprint: str,
    draw_key: str,
    rows: list[MatchedQuery],
    vectors: np.ndarray,
) -> pa.RecordBatch:
    """Rows of the table of banks; `vectors` are (n, d), or empty for no rows."""
    names = ("split", "modality", "part_id", "sample_id", "cluster", "origin")
    arrays = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in names]
    arrays += [pa.array([value] * len(rows), pa.string()) for value in (fingerprint, draw_key)]
    dim = columns.field("vector").type.list_size
    arrays.append(vector_column(np.asarray(vectors, np.float32).reshape(-1, dim)))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
