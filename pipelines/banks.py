"""banks: pairs set aside to fit corrections on (bank), to choose among them (validation) and to
test the choice (test).

Which split a cluster falls into, and which pairs are taken where there are more than enough, is
decided by a hash of the cluster and the seed: fixed samples that do not depend on arrival.
"""

import hashlib

import pyarrow as pa

from pipelines import keys
from pipelines.embed import table_name
from pipelines.kept import kept_samples
from pipelines.keys import corpus_space
from store import schema
from store.config import Corrections
from store.stage import Counts, begin, publish
from store.tables import take
from store.workspace import Workspace

STAGE = "banks"
SPLITS = ("bank", "validation", "test")
_QUERY_ROWS = 5_000  # validation and test: beyond that the intervals hardly narrow


def bank_table(space: str) -> str:
    return f"banks__{space}"


def draw_banks(workspace: Workspace) -> Counts:
    """Make the `banks__{space}` table. Counted are samples: kept = pairs in some split."""
    tables, space = workspace.tables, corpus_space(workspace)
    settings = workspace.config.corrections
    key = keys.banks(workspace)
    vectors = tables.open(table_name(space.name))
    columns = schema.banks(vectors.schema.field("vector").type.list_size)
    with begin(tables, STAGE, key, columns) as run:
        samples = kept_samples(workspace)
        known = vectors.to_table(columns=["part_id"], with_row_id=True)
        row_of = dict(zip(known["part_id"].to_pylist(), known["_rowid"].to_pylist(), strict=True))
        modalities = sorted(space.towers)
        paired = [
            s
            for s in samples.select(["id", "cluster", *(f"{m}_id" for m in modalities)]).to_pylist()
            if sum(s[f"{m}_id"] in row_of for m in modalities) >= 2
        ]
        chosen = _choose(paired, settings)
        rows = [
            {
                "split": split,
                "modality": m,
                "part_id": s[f"{m}_id"],
                "sample_id": s["id"],
                "cluster": s["cluster"],
            }
            for split, members in chosen.items()
            for s in members
            for m in modalities
            if s[f"{m}_id"] in row_of
        ]
        table = pa.Table.from_pylist(rows, schema=pa.schema(list(columns)[:-1]))
        taken = _take(tables.uri(table_name(space.name)), vectors.version, table, row_of)
        full = table.append_column(columns.field("vector"), taken)
        count = sum(len(m) for m in chosen.values())
        return publish(
            tables,
            run,
            counts=Counts(samples.num_rows, count, rejected=samples.num_rows - count),
            entries=[],
            write=lambda: tables.replace(
                bank_table(space.name), columns, full.cast(columns).to_batches(), None
            ),
            output=lambda: key,
        )


def _choose(paired: list[dict], settings: Corrections) -> dict[str, list[dict]]:
    """Pairs by split, each split's clusters in the order of their hashes."""
    drawn: dict[str, list[tuple[float, str, dict]]] = {s: [] for s in SPLITS}
    for sample in paired:
        share = _uniform(sample["cluster"], settings.seed)
        if share < settings.bank_share:
            split = "bank"
        elif share < 1 - settings.test_share:
            split = "validation"
        else:
            split = "test"
        drawn[split].append((share, sample["id"], sample))
    limits = {"bank": settings.bank_rows, "validation": _QUERY_ROWS, "test": _QUERY_ROWS}
    return {
        split: [s for _, _, s in sorted(members, key=lambda m: m[:2])[: limits[split]]]
        for split, members in drawn.items()
    }


def _uniform(cluster: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{cluster}".encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") / 2**64


def _take(uri: str, version: int, table: pa.Table, row_of: dict[str, int]) -> pa.Array:
    """The vectors of the table's parts, in its order."""
    rows = [row_of[p] for p in table["part_id"].to_pylist()]
    return take(uri, version, rows, ["vector"])["vector"].combine_chunks()
