"""What a query found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from store.search.corrected_search import Weighted
from store.search.explain import Explanation, explain

if TYPE_CHECKING:
    from store.search.corpus import Corpus


class QueryContext(NamedTuple):
    """What a result is the answer to, and the part ids of its rows."""

    corpus: "Corpus"
    inputs: list[Weighted]
    condition: str | None
    part_ids: list[str]


@dataclass(frozen=True)
class Hit:
    """One row of a result, by column name."""

    row: dict[str, Any]
    part_id: str
    asked: QueryContext

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    def explain(self) -> Explanation:
        """Why it stands here: raw score and rank, bias, k-occurrence, neighbours."""
        corpus, inputs, condition, _ = self.asked
        return explain(corpus, inputs, condition, self.row["modality"], self.part_id, self.row)


@dataclass(frozen=True)
class Result:
    """Rows best first; `complete` where they are proven the best; `notes` on how they were got."""

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]
    asked: QueryContext

    def __iter__(self) -> Iterator[Hit]:
        for part_id, row in zip(self.asked.part_ids, self.rows.to_pylist(), strict=True):
            yield Hit(row, part_id, self.asked)

    def show(self) -> None:
        """Print the rows as a table."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        names = [n for n in self.rows.schema.names if n not in ("id", "rank", "_bias")]
        table = Table()
        for name in ("rank", *names):
            numeric = name == "rank" or name.startswith("_")
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in self.rows.to_pylist():
            table.add_row(*(escape(_shown(row[name])) for name in ("rank", *names)))
        console = Console()
        console.print(table)
        for note in self.notes:
            console.print(escape(note), style="dim")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "" if value is None else str(value).strip()
