"""The rows that a query returns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from store.errors import InputError, IsotropeError, MissingPackageError
from store.search import result_json
from store.search.cards import MAX_CARDS, Card
from store.search.html_view import html_view

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from store.search.explanation import Explanation


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
        read_cards: reads the cards of the first rows, as many as it is given. None: a view shows
            what the rows hold.
    """

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...] = ()
    recall: float = 1.0
    explain_row: "Callable[[int], Explanation] | None" = field(
        default=None, repr=False, compare=False
    )
    read_cards: "Callable[[int], Sequence[Card]] | None" = field(
        default=None, repr=False, compare=False
    )

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

    @property
    def remarks(self) -> dict[str, Any]:
        """What the result says beside its rows: `complete`, `notes` and `recall`."""
        return {name: getattr(self, name) for name in REMARKS}

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a data frame. Raises MissingPackageError if pandas is not installed."""
        try:
            return self.rows.to_pandas()
        except ModuleNotFoundError:
            raise _missing("pandas") from None

    def to_polars(self) -> "pl.DataFrame":
        """The rows as a data frame. Raises MissingPackageError if polars is not installed."""
        try:
            import polars
        except ModuleNotFoundError:
            raise _missing("polars") from None
        return polars.DataFrame(self.rows)

    def to_json(self) -> str:
        """The result as JSON: see `store.search.result_json`. `from_json` reads it."""
        return result_json.write(self.rows, self.remarks)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Result":
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else.
        """
        rows, values = result_json.read(text)
        try:
            return cls(rows, bool(values["complete"]), tuple(values["notes"]), values["recall"])
        except (LookupError, TypeError) as error:
            raise InputError(f"the JSON is not that of a result: {error}") from None

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

    def _repr_html_(self) -> str:
        """The view of the first 24 rows in a notebook. See `store.search.html_view`."""
        hits = self.rows.slice(0, MAX_CARDS).to_pylist()
        proven = "exact" if self.complete else f"recall {self.recall:.3f} on the release's queries"
        count, shown = self.rows.num_rows, len(hits)
        remarks = [f"{count:,} rows, {proven}", *self.notes]
        if shown < count:
            remarks.append(f"the first {shown} are shown")
        cards, problems = self.cards(shown)
        return html_view(hits, cards, [*remarks, *problems])

    def cards(self, count: int) -> tuple[Sequence[Card], list[str]]:
        """What the first rows look like, and why this is not all that they have."""
        cards = [_card(row) for row in self.rows.slice(0, count).to_pylist()]
        # More cards than a view shows would read as many originals.
        if self.read_cards is None or not cards or count > MAX_CARDS:
            return cards, []
        try:
            return self.read_cards(count), []
        except IsotropeError as error:  # a list without pictures says more than a traceback
            return cards, [f"thumbnails and recordings cannot be read: {error}"]


# What a result says beside its rows.
REMARKS = ("complete", "notes", "recall")


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(
        f"{package} is not installed: pip install 'isotrope[{package}]', or use to_arrow()"
    )


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

    def _repr_html_(self) -> str:
        """The card of this row in a notebook. See `store.search.html_view`."""
        cards, remarks = self.result.cards(self.number + 1)
        return html_view([self.row], cards[self.number :], remarks)


def _card(hit: dict[str, Any]) -> Card:
    """The card that a row itself holds."""
    thumbnail = hit.get("thumbnail")
    return Card(str(hit.get("key", hit["id"])), hit.get("caption"), thumbnail)


def _cell(value: Any) -> str:
    """A value as the text of a table cell."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "" if value is None else str(value).strip()
