"""The table `takedowns`: hashes of content that was taken down and must stay out.

It holds no content: a sample or a part is named by its id, which is a hash. While a takedown is in
progress, its plan is in the file `PLAN`, and no stage may start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from store.errors import BusyError
from store.tables.lance_tables import Tables
from store.tables.outcomes import Entry

TABLE = "takedowns"
FOLDER = "_takedowns"  # of receipts, and of the plan
PLAN = f"{FOLDER}/plan.json"
RULE = "takedown"  # of the ledger's entries
PARTS = ("image_id", "audio_id", "text_id")

_KINDS = ("sample", "part")
_TEXT = {name: pa.field(name, pa.string(), nullable=False) for name in ("id", "kind", "reason")}
SCHEMA = pa.schema(
    [*_TEXT.values(), pa.field("taken_down_at", pa.timestamp("us", tz="UTC"), nullable=False)]
)


@dataclass(frozen=True)
class Blocked:
    """The ids of samples and of parts that must stay out."""

    samples: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of `samples` was taken down, or has a part that was."""
        return row["id"] in self.samples or any(row[part] in self.parts for part in PARTS)


NOTHING = Blocked()


def blocked(tables: Tables) -> Blocked:
    """What must stay out of the corpus."""
    rows = tables.scan(TABLE, SCHEMA, ["id", "kind"]).to_pylist()
    ids = {kind: frozenset(r["id"] for r in rows if r["kind"] == kind) for kind in _KINDS}
    return Blocked(ids["sample"], ids["part"])


def block(tables: Tables, samples: Iterable[str], parts: Iterable[str], reason: str) -> None:
    """Add ids to the table, in one commit. Ids that are in it already are replaced."""
    now = datetime.now(UTC)
    rows = [
        {"id": each, "kind": kind, "reason": reason, "taken_down_at": now}
        for kind, ids in zip(_KINDS, (samples, parts), strict=True)
        for each in sorted(ids)
    ]
    if rows:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        tables.upsert(TABLE, SCHEMA, table.to_batches(), "id")


def hidden_key(sample: str) -> str:
    """What the ledger has instead of the key of a record that was taken down.

    Args:
        sample: the id of the sample, or any other text that names the record.
    """
    return f"taken-down-{sample[:12]}"


def entry(source: str, sample: str) -> Entry:
    """The ledger's entry for a record that was taken down. It has no content."""
    return Entry(source, hidden_key(sample), RULE, id=sample)


def check_none_pending(tables: Tables) -> None:
    """Check that no takedown is in progress.

    Raises:
        BusyError: one is, or it was interrupted.
    """
    if tables.files.exists(PLAN):
        raise BusyError(
            f"a takedown of {tables.root} is in progress or was interrupted; `isotrope run` and"
            " `isotrope takedown --resume` finish it"
        )
