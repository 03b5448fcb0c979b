"""Query banks of other origin than the corpus: a file of queries, the query log.

Every query is accounted for: it is in the bank, or the ledger says why it is not.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedders.pool.pool import Pool, UnitResult
from pipelines.banks.corpus_matches import CorpusIndex, MatchedQuery, match
from pipelines.banks.query_files import Queries, read_queries, vector_query
from pipelines.engine.progress import watch
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.arrays import as_matrix, vector_column
from store.config.corrections import Corrections
from store.errors import EncoderError
from store.identity import uniform
from store.search import query_log
from store.tables.staging import Entry, StageRun, UnitOutcome

LEAST_REFERENCE = 200  # queries, for a skewness to be compared with
_MOST_REFERENCE = 5_000
_UNIT_QUERIES = 64


def read_origins(context: StageContext, dim: int) -> list[Queries]:
    """The queries of every origin of `query_bank` but the corpus itself.

    Raises what `read_queries` raises, NotFoundError where there is no such file, and EncoderError
    where all that was logged of a modality is another model's and nothing else stands in for it.
    """
    space, origins = context.space, context.config.corrections.query_bank
    found = []
    if "file" in origins:
        path = run_keys.queries_file(context.workspace)
        found.append(read_queries(path, space, context.config.limits, dim))
    if "log" in origins:
        others = {query.modality for queries in found for query in queries.asked}
        found.append(_read_log(context, space.towers if "corpus" in origins else others))
    return found


def _read_log(context: StageContext, others: Iterable[str]) -> Queries:
    """The log's queries. `others` are modalities that other origins have queries of."""
    space, tables, settings = context.space, context.tables, context.config.query_log
    query_log.forget(tables, space.name, settings)
    rows = query_log.read(tables, space.name, settings)
    found, foreign = Queries("log", rows.num_rows), Counter[tuple[str, str, str]]()
    kinds = zip(*(rows[n].to_pylist() for n in ("space", "fingerprint", "modality")), strict=True)
    expected = context.fingerprints
    for number, (kind, vector) in enumerate(zip(kinds, as_matrix(rows["vector"]), strict=True), 1):
        there, fingerprint, modality = kind
        if there == space.name and fingerprint == expected.get(modality):
            found.asked.append(vector_query(f"log:{number}", modality, vector))
        else:
            foreign[kind] += 1
    left = {*others, *(query.modality for query in found.asked)}
    for (there, made, modality), count in sorted(foreign.items()):
        wanted = expected.get(modality)
        if wanted is not None and modality not in left:
            raise EncoderError(
                f"the {count} {modality} queries of the query log were made in space {there!r} by"
                f" {made}; this corpus needs those of space {space.name!r} by {wanted}. Until"
                " such have been logged, say corrections.query_bank: [corpus, log]"
            )
        entry = Entry("log", f"{count} {modality} queries", "bank.fingerprint")
        found.lose(replace(entry, value=f"{there}: {made}", threshold=wanted), count)
    return found


def draw(context: StageContext, run: StageRun, known: CorpusIndex, found: Queries) -> pa.Table:
    """The rows that one origin adds to the banks, as `run.schema`; `found` counts the others out.

    Of each modality a share is kept from the bank (`reference`) where it makes `LEAST_REFERENCE`
    queries: drift is measured against queries that nothing was fitted to.
    """
    rows, key = [run.schema.empty_table()], run_keys.bank_settings(context)
    for modality in sorted(context.space.towers):
        asked = [query for query in found.asked if query.modality == modality]
        fit = _once(found, modality, _without_held_out(found, known, match(known, modality, asked)))
        drawn = _drawn(context.config.corrections, found, modality, fit)
        fingerprint = context.fingerprints[modality]
        given = [row for row in drawn if row.query.vector is not None]
        vectors = np.array([row.query.vector for row in given], np.float32)
        rows.append(pa.Table.from_batches([_batch(run.schema, fingerprint, key, given, vectors)]))
        raw = [row for row in drawn if row.query.vector is None]
        rows.append(_encoded(context, modality, run, found, raw))
    return pa.concat_tables(rows)


def _without_held_out(
    found: Queries, known: CorpusIndex, placed: list[MatchedQuery]
) -> list[MatchedQuery]:
    """Nothing of a validation or test pair is seen by a bank."""
    fit = []
    for row in placed:
        if row.cluster not in known.held_out:
            fit.append(row)
            continue
        entry = Entry(found.origin, row.query.key, "bank.held_out", id=row.part_id)
        found.lose(replace(entry, value="it is of a validation or test pair"))
    return fit


def _once(found: Queries, modality: str, placed: list[MatchedQuery]) -> list[MatchedQuery]:
    once = list({row.part_id: row for row in reversed(placed)}.values())
    if again := len(placed) - len(once):
        entry = Entry(found.origin, f"{again} {modality} queries", "bank.repeated")
        found.lose(replace(entry, value=f"{len(once)} differ"), again)
    return once


def _drawn(
    settings: Corrections, found: Queries, modality: str, placed: list[MatchedQuery]
) -> list[MatchedQuery]:
    ordered = sorted(placed, key=lambda row: uniform(row.part_id, settings.seed))
    share = round(len(ordered) * settings.test_share)
    apart = share if share >= LEAST_REFERENCE else 0
    bank = ordered[: len(ordered) - apart][: settings.bank_rows]
    reference = ordered[len(ordered) - apart :][:_MOST_REFERENCE]
    if over := len(ordered) - len(bank) - len(reference):
        entry = Entry(found.origin, f"{over} {modality} queries", "bank.rows")
        limit = f"{settings.bank_rows}, and {_MOST_REFERENCE} to measure drift by"
        found.lose(replace(entry, value=str(len(ordered)), threshold=limit), over)
    origin = found.origin
    return [replace(row, split="queries", origin=origin) for row in bank] + [
        replace(row, split="reference", origin=origin) for row in reference
    ]


@dataclass(frozen=True)
class _Load:
    """What queries are, by part id; runs in the pool's CPU tasks."""

    queries: tuple[tuple[str, str | Path], ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        return [(i, raw.read_bytes() if isinstance(raw, Path) else raw) for i, raw in self.queries]


def _encoded(
    context: StageContext,
    modality: str,
    run: StageRun,
    found: Queries,
    rows: list[MatchedQuery],
) -> pa.Table:
    """Rows with the vectors that the space's encoder gives them, staged as they come."""
    if not rows:
        return run.schema.empty_table()
    by_part = {row.part_id: row for row in rows}
    key = run_keys.bank_settings(context)
    fingerprint, done = context.fingerprints[modality], set(run.done())
    units = []
    for start in range(0, len(rows), _UNIT_QUERIES):
        cut = rows[start : start + _UNIT_QUERIES]
        load = _Load(tuple((row.part_id, row.query.raw or "") for row in cut))
        units.append((f"{modality}-{identity.run_key([row.part_id for row in cut])[:16]}", load))

    def stage(result: UnitResult) -> None:
        entries = [
            Entry.of(found.origin, by_part[part].query.key, error, id=part)
            for part, error in result.failed
        ]
        outcome = UnitOutcome(len(result.ids) + len(entries), len(result.ids), entries)
        made = [by_part[part] for part in result.ids]
        batch = _batch(run.schema, fingerprint, key, made, result.vectors)
        run.append(result.name, [batch], lambda: outcome)

    if todo := [unit for unit in units if unit[0] not in done]:
        ray = context.config.engine.ray
        with (
            watch(run, len(done) + len(todo), f"units of {modality} queries"),
            Pool(context.space.towers[modality], **ray.model_dump()) as pool,
        ):
            for result in pool.map(todo):
                stage(result)
    for entry in run.entries():
        if entry.id in by_part:
            found.lose(entry)
    staged = run.staged()
    return staged.filter(pc.is_in(staged["part_id"], value_set=pa.array(list(by_part))))


def _batch(
    columns: pa.Schema,
    fingerprint: str,
    draw_key: str,
    rows: list[MatchedQuery],
    vectors: np.ndarray,
) -> pa.RecordBatch:
    names = ("split", "modality", "part_id", "sample_id", "cluster", "origin")
    arrays = [pa.array([getattr(row, name) for row in rows], pa.string()) for name in names]
    arrays += [pa.array([value] * len(rows), pa.string()) for value in (fingerprint, draw_key)]
    width = columns.field("vector").type.list_size
    arrays.append(vector_column(np.asarray(vectors, np.float32).reshape(-1, width)))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)
