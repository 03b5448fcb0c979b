"""Checks of published tables: counts that add up, unique rows, valid numbers.

Every check takes the corpus and a drop (`EVERY_DROP` for tables of all drops) and returns what it
measured and, as sentences, what is wrong. Name and docstring are those of the check in Dagster.
"""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.stages import staleness
from store.arrays import LENGTH_TOLERANCE, is_unit_length
from store.arrow import as_rows
from store.tables import releases, schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import bank_table, gallery_table, pairs_table, vectors_table
from store.tables.staging import stage_record
from store.workspace import Workspace

Result = tuple[dict[str, Any], list[str]]

_ROWS = 8192  # in a batch
_COMPILED = 256  # rows of a gallery that are compiled again
# The least and the greatest value of a measurement of pairs, by the end of its name.
_RANGES = {
    "cosine": (-1, 1),
    "corrected": (-2, 2),
    "rank": (0, 1),
    "volume": (0, 1),
    "mismatch": (0, 1),
    "repair": (0, 1),
    "hubness": (0, 1),
}


def samples_conserved(corpus: Workspace, drop: str) -> Result:
    """input = kept + rejected + failed: kept samples are in the table, the others in the ledger."""
    of_drop = f"drop = {quote(drop)}"
    rows = _count(corpus.tables, "samples", of_drop)
    measured, problems = _conserved(corpus, "samples", drop, rows)
    for outcome in ("rejected", "failed"):
        where = f"{of_drop} AND stage = 'samples' AND outcome = '{outcome}'"
        entries = _count(corpus.tables, "ledger", where)
        measured[f"{outcome}_in_ledger"] = entries
        if entries != measured[outcome]:
            problems.append(f"{measured[outcome]} {outcome}, but the ledger lists {entries}")
    return measured, problems


def samples_unique(corpus: Workspace, drop: str) -> Result:
    """Every sample of the drop has one row."""
    ids = corpus.tables.scan("samples", schema.SAMPLES, ["id"], f"drop = {quote(drop)}")["id"]
    repeated = len(ids) - len(pc.unique(ids))
    problems = [f"{repeated} rows repeat a sample"] if repeated else []
    return {"samples": len(ids), "repeated": repeated}, problems


def signals_conserved(corpus: Workspace, drop: str) -> Result:
    """Every sample of the drop has one row of signals, and no other sample has one."""
    of_drop = f"drop = {quote(drop)}"
    rows = _count(corpus.tables, "signals", of_drop)
    measured, problems = _conserved(corpus, "signals", drop, rows)
    samples = _count(corpus.tables, "samples", of_drop)
    if rows != samples:
        problems.append(f"{rows} rows of signals for {samples} samples")
    return measured | {"samples": samples}, problems


def vectors_sound(corpus: Workspace, drop: str) -> Result:
    """input = kept + failed; every kept part has one vector, of length 1 and without NaN."""
    columns = [f"{m}_id" for m in schema.MODALITIES]
    samples = corpus.tables.scan("samples", schema.SAMPLES, columns, f"drop = {quote(drop)}")
    parts = {part for c in columns for part in samples[c].to_pylist() if part}
    dataset = corpus.tables.open(vectors_table(corpus.config.space))
    embedded = dataset.to_table(columns=["part_id"])["part_id"].to_pylist()
    rows = [row for row, part in enumerate(embedded) if part in parts]
    measured, problems = _conserved(corpus, "vectors", drop, None)
    measured |= {"vectors": len(rows), "off_unit_length": 0}
    # There may be more vectors than this run counted: of an earlier run under a looser policy.
    if len(rows) < measured["kept"]:
        problems.append(f"{measured['kept']} parts were embedded, but {len(rows)} have a vector")
    if repeated := len(embedded) - len(set(embedded)):
        problems.append(f"{repeated} parts have more than one vector")
    for start in range(0, len(rows), _ROWS):
        batch = dataset.take(rows[start : start + _ROWS], columns=["vector"])
        measured["off_unit_length"] += int(_is_off_unit_length(batch).sum())
    if measured["off_unit_length"]:
        problems.append(f"{measured['off_unit_length']} vectors are not of length 1")
    return measured, problems


def pairs_sound(corpus: Workspace, drop: str) -> Result:
    """Every sample has one row of pairs, and all its numbers are finite and within their range.

    Cosines are within -1 and 1, corrected ones within -2 and 2, ranks, volumes, hubness and
    probabilities within 0 and 1.
    """
    rows, samples = 0, _count(corpus.tables, "samples", None)
    pairs = corpus.tables.open(pairs_table(corpus.config.space))
    out_of_range = {name: 0 for name in schema.PAIR_TYPES if name in pairs.schema.names}
    for batch in pairs.to_batches():
        rows += batch.num_rows
        for name in out_of_range:
            values = pc.drop_null(batch[name]).to_numpy()
            low, high = _RANGES.get(name.rpartition("_")[2], (-np.inf, np.inf))
            is_within = (values >= low - LENGTH_TOLERANCE) & (values <= high + LENGTH_TOLERANCE)
            out_of_range[name] += int((~(is_within & np.isfinite(values))).sum())
    measured, problems = _conserved(corpus, "pairs", drop, rows)
    if rows != samples:
        problems.append(f"{rows} rows of pairs for {samples} samples")
    problems += [f"{n} values of {name} are out of range" for name, n in out_of_range.items() if n]
    return measured | {"samples": samples, "out_of_range": sum(out_of_range.values())}, problems


def duplicates_sound(corpus: Workspace, drop: str) -> Result:
    """A duplicate is removed once, for a sample that represents its cluster and is kept itself.

    If it is too near to an evaluation set, the representative is an evaluation sample.
    """
    rows = corpus.tables.scan("duplicates", schema.DUPLICATES)
    removed = rows.filter(pc.invert(rows["representative"]))
    representatives = rows.filter(rows["representative"])
    distinct = removed.group_by(["drop", "id"]).aggregate([]).num_rows
    of_samples = removed.filter(
        pc.invert(pc.starts_with(removed["kind"], schema.EVALUATION_PREFIX))
    )
    clusters, represented = (
        _joined(table, "cluster", "kind") for table in (of_samples, representatives)
    )
    orphans = of_samples.num_rows - _count_in(clusters, represented)
    chained = _count_in(_joined(representatives, "drop", "id"), _joined(removed, "drop", "id"))
    done = stage_record(corpus.tables, "duplicates", drop) or {}
    measured, problems = _conserved(corpus, "duplicates", drop, None)
    rejected = done.get("rejected", 0)
    if removed.num_rows != rejected:
        problems.append(f"{rejected} were rejected, but the table lists {removed.num_rows}")
    if distinct != removed.num_rows:
        problems.append(f"{removed.num_rows - distinct} samples are removed more than once")
    if orphans:
        problems.append(f"{orphans} samples are removed for one that represents no cluster")
    if chained:
        problems.append(f"{chained} samples represent a cluster and are removed themselves")
    counts = {"removed": removed.num_rows, "representatives": representatives.num_rows}
    return measured | counts, problems


def _joined(table: Any, first: str, second: str) -> Any:
    """Two text columns as one array of keys."""
    return pc.binary_join_element_wise(table[first], table[second], "\n").combine_chunks()


def _count_in(values: Any, among: Any) -> int:
    return pc.sum(pc.is_in(values, value_set=among)).as_py() or 0


def decisions_conserved(corpus: Workspace, drop: str) -> Result:
    """Every sample has exactly one decision; a rejected sample has the rule that rejected it."""
    tables = corpus.tables
    kept = _count(tables, "decisions", "keep")
    measured, problems = _conserved(corpus, "decisions", drop, kept)
    decisions = tables.scan("decisions", schema.DECISIONS, ["drop", "id"])
    distinct = decisions.group_by(["drop", "id"]).aggregate([]).num_rows
    samples = _count(tables, "samples", None)
    unexplained = _count(tables, "decisions", "NOT keep AND rule IS NULL")
    measured |= {"samples": samples, "decisions": decisions.num_rows, "without_a_rule": unexplained}
    if not samples == decisions.num_rows == distinct:
        problems.append(
            f"{decisions.num_rows} decisions ({distinct} distinct) for {samples} samples"
        )
    if unexplained:
        problems.append(f"{unexplained} samples are rejected without a rule")
    return measured, problems


def gallery_sound(corpus: Workspace, drop: str) -> Result:
    """The galleries have the counted parts, each once, vectors of length 1 and finite biases."""
    columns = ["part_id", "vector", *(f"bias_{m}" for m in schema.MODALITIES)]
    banks = corpus.tables.open(bank_table(corpus.config.space))
    dim = banks.schema.field("vector").type.list_size
    rows, parts, unsound = 0, set(), 0
    for modality in schema.MODALITIES:
        name = gallery_table(corpus.config.space, modality)
        if (dataset := corpus.tables.open_or_none(name)) is None:
            continue
        moved = [n for n in dataset.schema.names if n.startswith("vector_")]
        for batch in dataset.to_batches(columns=columns + moved, batch_size=_ROWS):
            rows += batch.num_rows
            parts.update(batch["part_id"].to_pylist())
            is_finite = _is_finite(batch, columns[2:] + moved)
            unsound += int((_is_off_unit_length(batch, dim) | ~is_finite).sum())
    measured, problems = _conserved(corpus, "gallery", drop, rows)
    measured["unsound_rows"] = unsound
    if len(parts) != rows:
        problems.append(f"{rows - len(parts)} rows repeat a part")
    if unsound:
        problems.append(f"{unsound} rows have a vector not of length 1, or a number not finite")
    return measured, problems


def gallery_compiles_again(corpus: Workspace, drop: str) -> Result:
    """Random rows of the galleries follow from vectors and banks, unless these are newer."""
    from pipelines.gallery.recompute import differing_rows  # imports Ray

    measured: dict[str, Any] = {"rows_compiled_again": 0}
    problems: list[str] = []
    if "gallery" in staleness.stale(corpus, None):
        return measured, problems
    for modality in schema.MODALITIES:
        count, parts = differing_rows(corpus.tables, corpus.config.space, modality, _COMPILED)
        measured["rows_compiled_again"] += count
        if parts:
            problems.append(
                f"{len(parts)} of {count} {modality} rows, such as that of part {parts[0]}, have"
                " other vectors or biases than follow from `vectors` and `banks`"
            )
    return measured, problems


def release_does_no_harm(corpus: Workspace, drop: str) -> Result:
    """No correction of the release is surely worse than raw search on the test pairs.

    It is worse if the 95% interval of its gain in mean reciprocal rank is below zero.
    """
    release = releases.latest_release(corpus.tables, corpus.config.space)
    gains = {n: f["gain"] for n, f in release.evaluation.items() if "gain" in f}
    corrected = [n for n, d in release.directions.items() if d.method != "none" and n in gains]
    measured: dict[str, Any] = {"release": release.number, "corrected_directions": corrected}
    measured |= {f"gain {n}": f"{g['low']:.4f} to {g['high']:.4f}" for n, g in gains.items()}
    problems = [
        f"{n}: {release.directions[n].method} changes the mean reciprocal rank by"
        f" {gains[n]['low']:.4f} to {gains[n]['high']:.4f}"
        for n in corrected
        if not gains[n]["high"] >= 0
    ]
    return measured, problems


def _conserved(corpus: Workspace, stage: str, drop: str, rows: int | None) -> Result:
    """Compare the counts of a stage's record; `rows` is how many its table has, None: unknown."""
    done = stage_record(corpus.tables, corpus.name_of(stage), drop) or {}
    measured = {n: done.get(n, 0) for n in ("input", "kept", "rejected", "failed")}
    problems = []
    out = measured["kept"] + measured["rejected"] + measured["failed"]
    if measured["input"] != out:
        problems.append(f"{measured['input']} went in, {out} came out")
    if rows is not None:
        measured["rows"] = rows
        if rows != measured["kept"]:
            problems.append(f"{measured['kept']} were kept, but the table has {rows}")
    return measured, problems


def _count(tables: Tables, name: str, where: str | None) -> int:
    dataset = tables.open_or_none(name)
    return 0 if dataset is None else dataset.count_rows(where)


def _is_off_unit_length(rows: Any, dim: int | None = None) -> np.ndarray:
    """(n,) bool: the first `dim` dimensions (None: all) of a row's vector are not of length 1."""
    return ~is_unit_length(as_rows(rows["vector"])[:, :dim])


def _is_finite(rows: Any, columns: list[str]) -> np.ndarray:
    """(n,) bool: all of a row's numbers in these columns are finite."""
    return np.all([np.isfinite(as_rows(rows[c])).all(axis=1) for c in columns], axis=0)
