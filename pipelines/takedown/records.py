"""What stages say of their rows after a takedown: the ledger's entries, and the stages' records.

A sample that was taken down counts as rejected by `samples`. Stages that read samples are made
again by the next run, which costs little: what remains is reused.
"""

from collections.abc import Iterator
from dataclasses import asdict, fields, replace

import pyarrow as pa

from pipelines.samples.digest import digest_of_drop
from pipelines.takedown.plan import Plan
from store.errors import ConservationError
from store.tables import schema
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.outcomes import Counts
from store.tables.stage_records import forget_records, of_every_space, of_stage
from store.tables.stages import GLOBAL
from store.tables.staging import stage_record
from store.tables.takedowns import RULE, entry

_BATCH = 4096


def forget_stages(tables: Tables, drops: list[str]) -> None:
    """Delete the records of stages that must be made again."""
    where = of_every_space(GLOBAL)
    if drops:
        where += f" OR (({of_every_space(['vectors'])}) AND {one_of('drop', drops)})"
    forget_records(tables, where)


def add_entries(tables: Tables, plan: Plan) -> None:
    """Add an entry to the ledger for each current row of `samples` that goes."""
    if not plan.rows:
        return
    of_samples = one_of("id", sorted(plan.samples))
    where = f"stage = 'samples' AND rule = {quote(RULE)} AND {of_samples}"
    tables.replace("ledger", schema.LEDGER, _entries(plan), where)


def _entries(plan: Plan) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(plan.rows), _BATCH):
        rows = [
            {"drop": drop, "stage": "samples", **asdict(entry(source, sample))}
            for drop, source, sample in plan.rows[start : start + _BATCH]
        ]
        yield pa.RecordBatch.from_pylist(rows, schema=schema.LEDGER)


def count_again(tables: Tables, drop: str) -> None:
    """Correct the records of `samples` and `signals` of a drop, from the rows of the tables.

    A record that would not add up is deleted, so that its stage is made again.
    """
    of_drop = f"drop = {quote(drop)}"
    rejected = f"{of_drop} AND stage = 'samples' AND outcome = 'rejected'"
    kept = _count(tables, "samples", of_drop)
    for stage in ("samples", "signals"):
        if (record := stage_record(tables, stage, drop)) is None:
            continue
        counts = Counts(**{field.name: record[field.name] for field in fields(Counts)})
        if stage == "samples":
            counts = replace(counts, kept=kept, rejected=_count(tables, "ledger", rejected))
            record["output"] = digest_of_drop(tables, drop)
        else:
            counts = replace(counts, kept=kept, input=kept + counts.rejected + counts.failed)
        record |= asdict(counts)
        rows = [] if _is_wrong(counts) else [record]
        tables.replace(
            "stages",
            schema.STAGES,
            pa.Table.from_pylist(rows, schema=schema.STAGES).to_batches(),
            of_stage(stage, drop),
        )


def _is_wrong(counts: Counts) -> bool:
    try:
        counts.check("")
    except ConservationError:
        return True
    return False


def _count(tables: Tables, name: str, where: str) -> int:
    return int(tables.open(name).count_rows(where)) if tables.exists(name) else 0
