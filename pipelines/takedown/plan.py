"""The plan of a takedown: a file beside the tables, from its start to its end.

While it exists no stage starts, and an interrupted takedown can be finished. It names records by
their keys, so it is deleted at the end.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from pipelines.takedown.selection import Selected
from store.errors import NotFoundError
from store.tables.lance_tables import Tables
from store.tables.takedowns import PLAN


@dataclass(frozen=True)
class Plan:
    """What is removed, and what the tables were before.

    Attributes:
        started_at: an ISO timestamp, which also names the receipt.
        reason: of the operator.
        samples: ids of the samples that go.
        parts: ids of the parts that go.
        blocked: ids of parts that must stay out in whatever sample they are delivered.
        records: (drop, source, key) of all records whose entries in the ledger are cleared.
        rows: (drop, source, id) of the current rows of `samples` that go.
        vectors: hashes of the vectors of `parts`, as `hash_of_vector` gives them.
        words: that only captions of `samples` have (`pipelines.takedown.item_words`).
        newest: the versions of the tables before anything was changed. Empty until all running
            stages have ended.
        removed: what was done already, by table: rows of the newest version.
    """

    started_at: str
    reason: str
    samples: frozenset[str]
    parts: frozenset[str]
    blocked: frozenset[str]
    records: frozenset[tuple[str, str, str]]
    rows: tuple[tuple[str, str, str], ...]
    vectors: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    newest: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, selected: Selected, reason: str) -> Self:
        """The plan for what was selected."""
        now = datetime.now(UTC).isoformat()
        return cls(now, reason, **vars(selected))

    @property
    def drops(self) -> list[str]:
        """The drops whose current rows change."""
        return sorted({drop for drop, _, _ in self.rows})

    def with_removed(self, table: str, rows: int) -> "Plan":
        """The plan after a table was done."""
        return replace(self, removed={**self.removed, table: rows})


def write_plan(tables: Tables, plan: Plan) -> Plan:
    """Write the plan; return it."""
    values = asdict(plan)
    values |= {name: sorted(v) for name, v in values.items() if isinstance(v, frozenset)}
    tables.files.write(PLAN, json.dumps(values).encode())
    return plan


def read_plan(tables: Tables) -> Plan | None:
    """The plan of the takedown that is in progress, or None."""
    try:
        values = json.loads(tables.files.read(PLAN))
    except NotFoundError:
        return None
    for name in ("samples", "parts", "blocked", "vectors", "words"):
        values[name] = frozenset(values.get(name, ()))
    values["records"] = frozenset(map(tuple, values["records"]))
    values["rows"] = tuple(map(tuple, values["rows"]))
    return Plan(**values)
