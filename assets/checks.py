"""Promises of the tables, asked of the tables themselves after they were made. All of them block,
but for `no_drift`, which is of what is asked.

The pipelines verify the same before they publish; a check that fails here has caught what they
or a hand-made change let through. A stage that broke a promise counts as missing from then on.
"""

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.compute as pc

from assets import corpus_assets, drop_assets
from assets.drift_check import no_drift
from assets.materialise import DROPS
from store.arrays import LENGTH_TOLERANCE, is_unit_length
from store.tables import releases, schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import bank_table, gallery_table, pairs_table, vectors_table
from store.tables.stages import EVERY_DROP
from store.tables.staging import record
from store.workspace import Workspace

_ROWS = 8192

# (corpus, drop or "*") -> what was found, and what of it breaks the promise
Question = Callable[[Workspace, str], tuple[dict[str, Any], list[str]]]


def samples_conserved(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """in = kept + rejected + failed: kept are in the table, the others in the ledger."""
    here = f"drop = {quote(drop)}"
    found, broken = _conserved(corpus, "samples", drop, _count(corpus.tables, "samples", here))
    for outcome in ("rejected", "failed"):
        where = f"{here} AND stage = 'samples' AND outcome = '{outcome}'"
        listed = _count(corpus.tables, "ledger", where)
        found[f"{outcome}_in_ledger"] = listed
        if listed != found[outcome]:
            broken.append(f"{found[outcome]} {outcome}, but the ledger lists {listed}")
    return found, broken


def samples_unique(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """No sample of a drop is there twice."""
    ids = corpus.tables.scan("samples", schema.SAMPLES, ["id"], f"drop = {quote(drop)}")["id"]
    twice = len(ids) - len(pc.unique(ids))
    return {"samples": len(ids), "repeated": twice}, [f"{twice} are repeated"] if twice else []


def signals_conserved(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """Every sample of the drop has its row of signals, and only those."""
    here = f"drop = {quote(drop)}"
    rows = _count(corpus.tables, "signals", here)
    found, broken = _conserved(corpus, "signals", drop, rows)
    samples = _count(corpus.tables, "samples", here)
    if rows != samples:
        broken.append(f"{rows} rows of signals for {samples} samples")
    return found | {"samples": samples}, broken


def vectors_sound(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """in = kept + failed, the drop's vectors are there, each once, of length 1 and no NaN."""
    name = vectors_table(corpus.config.space)
    columns = [f"{m}_id" for m in schema.MODALITIES]
    parts = corpus.tables.scan("samples", schema.SAMPLES, columns, f"drop = {quote(drop)}")
    wanted = {part for c in columns for part in parts[c].to_pylist() if part}
    dataset = corpus.tables.open(name)
    held = dataset.to_table(columns=["part_id"])["part_id"].to_pylist()
    places = [row for row, part in enumerate(held) if part in wanted]
    found, broken = _conserved(corpus, "vectors", drop, None)
    found |= {"vectors": len(places), "off_unit_length": 0}
    # A policy that was looser before leaves more vectors than this run counted.
    if len(places) < found["kept"]:
        broken.append(f"{found['kept']} parts were embedded, but {len(places)} have a vector")
    if len(set(held)) != len(held):
        broken.append(f"{len(held) - len(set(held))} parts have more than one vector")
    for start in range(0, len(places), _ROWS):
        some = dataset.take(places[start : start + _ROWS], columns=["vector"])
        found["off_unit_length"] += int(_off_unit_length(some).sum())
    if found["off_unit_length"]:
        broken.append(f"{found['off_unit_length']} vectors are not of length 1")
    return found, broken


def pairs_sound(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """Every sample has its row of pairs, and only those; cosines are within -1 and 1, ranks and
    volumes within 0 and 1, and every other number is finite."""
    rows, samples = 0, _count(corpus.tables, "samples", None)
    off = dict.fromkeys(schema.PAIR_TYPES, 0)
    for batch in corpus.tables.open(pairs_table(corpus.config.space)).to_batches():
        rows += batch.num_rows
        for name in off:
            values = pc.drop_null(batch[name]).to_numpy()
            ends = _ENDS.get(name.rpartition("_")[2], (-np.inf, np.inf))
            within = (values >= ends[0] - LENGTH_TOLERANCE) & (values <= ends[1] + LENGTH_TOLERANCE)
            off[name] += int((~(within & np.isfinite(values))).sum())
    found, broken = _conserved(corpus, "pairs", drop, rows)
    if rows != samples:
        broken.append(f"{rows} rows of pairs for {samples} samples")
    broken += [f"{count} values of {name} are out of range" for name, count in off.items() if count]
    return found | {"samples": samples, "out_of_range": sum(off.values())}, broken


_ENDS = {"cosine": (-1, 1), "corrected": (-2, 2), "rank": (0, 1), "volume": (0, 1)}


def duplicates_sound(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """What is lost is lost once, to a sample that represents its cluster and is not lost itself,
    or to an evaluation sample."""
    rows = corpus.tables.scan("duplicates", schema.DUPLICATES)
    lost = rows.filter(pc.invert(rows["representative"]))
    stands = rows.filter(rows["representative"])
    once = lost.group_by(["drop", "id"]).aggregate([]).num_rows
    near = lost.filter(pc.invert(pc.starts_with(lost["kind"], schema.EVALUATION)))
    places = (pc.binary_join_element_wise(t["cluster"], t["kind"], "\n") for t in (near, stands))
    named, standing = (p.combine_chunks() for p in places)
    orphans = near.num_rows - (pc.sum(pc.is_in(named, value_set=standing)).as_py() or 0)
    both = pc.binary_join_element_wise(stands["drop"], stands["id"], "\n")
    gone = pc.binary_join_element_wise(lost["drop"], lost["id"], "\n").combine_chunks()
    chained = pc.sum(pc.is_in(both, value_set=gone)).as_py() or 0
    done = record(corpus.tables, "duplicates", drop) or {}
    found, broken = _conserved(corpus, "duplicates", drop, None)
    if lost.num_rows != done.get("rejected", 0):
        broken.append(f"{done.get('rejected', 0)} were lost, but the table lists {lost.num_rows}")
    if once != lost.num_rows:
        broken.append(f"{lost.num_rows - once} samples are lost more than once")
    if orphans:
        broken.append(f"{orphans} samples are lost to one that does not represent their cluster")
    if chained:
        broken.append(f"{chained} samples represent a cluster and are lost themselves")
    return found | {"lost": lost.num_rows, "representatives": stands.num_rows}, broken


def decisions_conserved(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """Every sample has exactly one decision, and one that is not kept says why."""
    tables = corpus.tables
    found, broken = _conserved(corpus, "decisions", drop, _count(tables, "decisions", "keep"))
    places = tables.scan("decisions", schema.DECISIONS, ["drop", "id"])
    once = places.group_by(["drop", "id"]).aggregate([]).num_rows
    samples = _count(tables, "samples", None)
    unexplained = _count(tables, "decisions", "NOT keep AND rule IS NULL")
    found |= {"samples": samples, "decisions": places.num_rows, "without_a_rule": unexplained}
    if not samples == places.num_rows == once:
        broken.append(f"{places.num_rows} decisions ({once} distinct) for {samples} samples")
    if unexplained:
        broken.append(f"{unexplained} samples are rejected without a rule")
    return found, broken


def gallery_sound(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """As many rows as were counted, each part once, vectors of length 1, biases finite."""
    columns = ["part_id", "vector", *(f"bias_{m}" for m in schema.MODALITIES)]
    dim = corpus.tables.open(bank_table(corpus.config.space)).schema.field("vector").type.list_size
    rows, parts, off = 0, set(), 0
    for modality in schema.MODALITIES:
        name = gallery_table(corpus.config.space, modality)
        if not corpus.tables.exists(name):
            continue
        dataset = corpus.tables.open(name)
        moved = [n for n in dataset.schema.names if n.startswith("vector_")]
        for batch in dataset.to_batches(columns=columns + moved, batch_size=_ROWS):
            rows += batch.num_rows
            parts.update(batch["part_id"].to_pylist())
            sound = _finite(batch, columns[2:] + moved)
            off += int((_off_unit_length(batch, dim) | ~sound).sum())
    found, broken = _conserved(corpus, "gallery", drop, rows)
    found["unsound_rows"] = off
    if len(parts) != rows:
        broken.append(f"{rows - len(parts)} parts are there twice")
    if off:
        broken.append(f"{off} rows have a vector not of length 1, or what is no number")
    return found, broken


def release_does_no_harm(corpus: Workspace, drop: str) -> tuple[dict[str, Any], list[str]]:
    """No correction in the release loses to raw on test pairs: its interval reaches zero."""
    last = releases.latest(corpus.tables)
    tested = {n: f["gain"] for n, f in last.evaluation.items() if "gain" in f}
    corrected = [n for n, d in last.directions.items() if d.method != "none" and n in tested]
    found: dict[str, Any] = {"release": last.number, "corrected_directions": corrected}
    found |= {f"gain {n}": f"{g['low']:.4f} to {g['high']:.4f}" for n, g in tested.items()}
    broken = [
        f"{n}: {last.directions[n].method} changes the mean reciprocal rank by"
        f" {tested[n]['low']:.4f} to {tested[n]['high']:.4f}"
        for n in corrected
        if not tested[n]["high"] >= 0
    ]
    return found, broken


def _conserved(
    corpus: Workspace, stage: str, drop: str, rows: int | None
) -> tuple[dict[str, Any], list[str]]:
    done = record(corpus.tables, stage, drop) or {}
    found = {n: done.get(n, 0) for n in ("input", "kept", "rejected", "failed")}
    broken = []
    out = found["kept"] + found["rejected"] + found["failed"]
    if found["input"] != out:
        broken.append(f"{found['input']} went in, {out} came out")
    if rows is not None:
        found["rows"] = rows
        if rows != found["kept"]:
            broken.append(f"{found['kept']} were kept, but the table has {rows}")
    return found, broken


def _count(tables: Tables, name: str, where: str | None) -> int:
    return tables.open(name).count_rows(where) if tables.exists(name) else 0


def _off_unit_length(rows: Any, dim: int | None = None) -> np.ndarray:
    """(n,) whether the first `dim` dimensions (None: all) of a row's vector are not of length 1."""
    return ~is_unit_length(_numbers(rows["vector"])[:, :dim])


def _finite(rows: Any, columns: list[str]) -> np.ndarray:
    """(n,) whether all of a row's numbers in these columns are finite."""
    return np.all([np.isfinite(_numbers(rows[c])).all(axis=1) for c in columns], axis=0)


def _numbers(column: Any) -> np.ndarray:
    """A column of numbers, or of fixed-size lists of them, as (n, d)."""
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    flat = column.flatten() if hasattr(column.type, "list_size") else column
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1 if len(column) else 1)


def _check(asset: dg.AssetsDefinition, question: Question) -> dg.AssetChecksDefinition:
    partitioned = asset.partitions_def is not None

    @dg.asset_check(
        asset=asset,
        name=question.__name__,
        description=question.__doc__,
        blocking=True,
        partitions_def=DROPS if partitioned else None,
    )
    def check(
        context: dg.AssetCheckExecutionContext, corpus: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        drop = context.partition_key if partitioned else EVERY_DROP
        stage = asset.key.to_user_string()
        if record(corpus.tables, stage, drop) is None:
            why = "it counts as missing: it broke another promise, or is being made again"
            return dg.AssetCheckResult(passed=False, description=why)
        found, broken = question(corpus, drop)
        if broken:
            _forget(corpus.tables, stage, drop)
        return dg.AssetCheckResult(
            passed=not broken, description="; ".join(broken) or question.__doc__, metadata=found
        )

    return check


def _forget(tables: Tables, stage: str, drop: str) -> None:
    """Take away the stage's record, so that whatever looks for what is missing finds it."""
    here = f"drop = {quote(drop)} AND stage = {quote(stage)}"
    tables.replace("stages", schema.STAGES, [], here)


warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*partitions_def")

CHECKS = [
    _check(drop_assets.samples, samples_conserved),
    _check(drop_assets.samples, samples_unique),
    _check(drop_assets.signals, signals_conserved),
    _check(drop_assets.vectors, vectors_sound),
    _check(corpus_assets.pairs, pairs_sound),
    _check(corpus_assets.duplicates, duplicates_sound),
    _check(corpus_assets.decisions, decisions_conserved),
    _check(corpus_assets.gallery, gallery_sound),
    _check(corpus_assets.release, release_does_no_harm),
    no_drift,
]
