"""The rows that a query returns."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from store.search.corrected_search import WeightedInput
from store.search.explain import Explanation, explain
from store.search.opened import OpenRelease


class QueryContext(NamedTuple):
    """The query that a result answers, and the part ids of the result's rows."""

    opened: OpenRelease
    inputs: list[WeightedInput]
    condition: str | None
    part_ids: list[str]


@dataclass(frozen=True)
class Hit:
    """One row of a result. Read its values by column name."""

    row: dict[str, Any]
    part_id: str
    context: QueryContext

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    def explain(self) -> Explanation:
        """Explain the rank: raw score and raw rank, bias, k-occurrence, nearest neighbours."""
        opened, inputs, condition, _ = self.context
        return explain(opened, inputs, condition, self.row["modality"], self.part_id, self.row)


@dataclass(frozen=True)
class Result:
    """The rows of a query, best first.

    Attributes:
        rows: as `Query.to_arrow` returns them.
        complete: true if the rows are proven to be the best of the gallery.
        notes: remarks on how the rows were found.
        context: the query.
    """

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]
    context: QueryContext

    def __iter__(self) -> Iterator[Hit]:
        for part_id, row in zip(self.context.part_ids, self.rows.to_pylist(), strict=True):
            yield Hit(row, part_id, self.context)

    def show(self) -> None:
        """Print the rows as a table."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        columns = [n for n in self.rows.schema.names if n not in ("id", "rank", "_bias")]
        table = Table()
        for name in ("rank", *columns):
            numeric = name == "rank" or name.startswith("_")
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in self.rows.to_pylist():
            table.add_row(*(escape(_cell(row[name])) for name in ("rank", *columns)))
        console = Console()
        console.print(table)
        for note in self.notes:
            console.print(escape(note), style="dim")


def _cell(value: Any) -> str:
    """A value as the text of a table cell."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "" if value is None else str(value).strip()
