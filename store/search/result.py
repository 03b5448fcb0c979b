"""The rows that a query returns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from store.errors import InputError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

    from store.search.explain import Explanation


@dataclass(frozen=True)
class Result:
    """The rows of a query, best first.

    Attributes:
        rows: as `Search.to_arrow` returns them.
        complete: true if the rows are proven to be the best of the gallery.
        notes: remarks on how the rows were found.
        recall: what share of the best ten rows the index finds, as measured on the release's own
            queries when it was made. 1 if no index was searched.
        explain_row: explains the row with a number. None: only a corpus that is opened by its path
            can explain.
    """

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...] = ()
    recall: float = 1.0
    explain_row: "Callable[[int], Explanation] | None" = field(default=None, repr=False)

    def __iter__(self) -> Iterator["Hit"]:
        for number, row in enumerate(self.rows.to_pylist()):
            yield Hit(row, number, self)

    def explain(self, number: int) -> "Explanation":
        """Explain the rank of a row: raw score and rank, bias, k-occurrence, nearest neighbours.

        Args:
            number: of the row, from 0.

        Raises:
            InputError: the corpus was not opened by its path.
        """
        if self.explain_row is None:
            raise InputError("explain() needs the tables: open the corpus by its path")
        return self.explain_row(number)

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a data frame. Raises NotFoundError if pandas is not installed."""
        try:
            return self.rows.to_pandas()
        except ModuleNotFoundError:
            raise NotFoundError(
                "pandas is not installed: pip install 'isotrope[pandas]', or use to_arrow()"
            ) from None

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


@dataclass(frozen=True)
class Hit:
    """One row of a result. Read its values by column name."""

    row: dict[str, Any]
    number: int
    result: Result

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    def explain(self) -> "Explanation":
        """Explain the rank. See `Result.explain`."""
        return self.result.explain(self.number)


def _cell(value: Any) -> str:
    """A value as the text of a table cell."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "" if value is None else str(value).strip()
