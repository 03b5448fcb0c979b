"""Small tables as HTML for notebooks. Values may come from the data, so all are escaped and cut."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice

MAX_ROWS = 50
_MAX_CELL = 300  # characters


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table without scripts, styles of the page and links.

    Args:
        title: one line above the table.
        head: the names of the columns.
        rows: their values; a float gets three decimals, None an empty cell. At most `MAX_ROWS` are
            shown.
    """
    rows = list(rows)
    shown = "".join(_row("td", row) for row in islice(rows, MAX_ROWS))
    more = len(rows) - MAX_ROWS
    below = f"<div>... and {more:,} more</div>" if more > 0 else ""
    return (
        f"<div><b>{_cell(title)}</b></div><table><thead>{_row('th', head)}</thead>"
        f"<tbody>{shown}</tbody></table>{below}"
    )


def _row(tag: str, values: Sequence[object]) -> str:
    cells = (f'<{tag} style="text-align: left">{_cell(value)}</{tag}>' for value in values)
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())
    return escape(text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…")
