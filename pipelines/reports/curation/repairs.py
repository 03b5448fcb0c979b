"""Counts of proposed captions, and those that the curation page shows.

These are the surest and the least sure of the captions that the decisions use, which show whether
the policy's limit is too low, and the surest of the others, which show whether it is too high.
"""

from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from pipelines.engine.duckdb_scratch import load_table, query_rows, query_value
from pipelines.reports.curation.column_statistics import SampleRef
from store.tables import schema
from store.tables.names import pairs_table
from store.workspace import Workspace

_SHOWN = 4  # of each kind


class Repair(NamedTuple):
    """A proposed caption.

    Attributes:
        sample: whose caption is probably mismatched.
        probability: that the proposal is right.
        caption: the proposed one.
        used: whether the decisions use it.
    """

    sample: SampleRef
    probability: float
    caption: str
    used: bool


@dataclass(frozen=True)
class Repairs:
    """The proposed captions of a drop, or of all drops.

    Attributes:
        mismatched: samples whose caption is probably mismatched.
        proposed: those of them that have a proposal.
        used: those whose proposal the decisions use.
        shown: some proposals, those that are used first, by falling probability.
    """

    mismatched: int
    proposed: int
    used: int
    shown: list[Repair]


_QUERY = """
FROM (SELECT min(pairs.drop) AS drop, pairs.id, text_repair, repair_text,
        bool_or(decisions.repair_text_id IS NOT NULL) AS used
      FROM {pairs} AS pairs LEFT JOIN repair_decisions AS decisions USING (drop, id)
      WHERE text_repair > 0 {of_drop} GROUP BY pairs.id, text_repair, repair_text)
QUALIFY row_number() OVER (PARTITION BY used ORDER BY text_repair DESC, id) <= {shown}
  OR used AND row_number() OVER (PARTITION BY used ORDER BY text_repair, id DESC) <= {shown}
ORDER BY used DESC, text_repair DESC, id
"""


def load(connection: duckdb.DuckDBPyConnection, workspace: Workspace, drop: str | None) -> None:
    """Copy what `repairs` reads into a database: of a drop, or of all drops (None)."""
    names = ["drop", "id", "text_repair", "repair_text"]
    load_table(connection, workspace, _pairs(workspace), schema.PAIRS, names, drop)
    decisions = workspace.tables.scan(
        "decisions",
        schema.DECISIONS,
        ["drop", "id", "repair_text_id"],
        "repair_text_id IS NOT NULL",
    )
    connection.register("given", decisions)
    connection.execute("CREATE TABLE repair_decisions AS FROM given")
    connection.unregister("given")


def repairs(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, drop: str | None
) -> Repairs:
    """The proposed captions of a drop (None: of all drops), in a database that `load` filled."""
    pairs = _pairs(workspace)
    of_drop = "" if drop is None else "AND drop = '" + drop.replace("'", "''") + "'"
    count = f"SELECT count(DISTINCT id) FROM {pairs} WHERE "
    shown = query_rows(connection, _QUERY.format(pairs=pairs, of_drop=of_drop, shown=_SHOWN))
    return Repairs(
        mismatched=query_value(connection, f"{count} text_repair IS NOT NULL {of_drop}"),
        proposed=query_value(connection, f"{count} text_repair > 0 {of_drop}"),
        used=query_value(
            connection, f"SELECT count(DISTINCT id) FROM repair_decisions WHERE true {of_drop}"
        ),
        shown=[
            Repair((r["drop"], r["id"]), r["text_repair"], r["repair_text"], r["used"])
            for r in shown
        ],
    )


def _pairs(workspace: Workspace) -> str:
    return pairs_table(workspace.config.space)
