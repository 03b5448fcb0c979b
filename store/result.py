"""What a query found."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Result:
    """Rows best first; `complete` where they are proven the best; `notes` on how they were got."""

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]

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
