"""Formats results for Dagster's page: counts, Markdown tables, images."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a stage as metadata. Dagster plots its numbers over time."""
    counts = {name: record[name] for name in ("input", "kept", "rejected", "failed")}
    return {
        **counts,
        "dagster/row_count": record["kept"],
        "seconds": round(record["seconds"], 3),
        "units_resumed": record["resumed"],
        "published_at": dg.MetadataValue.timestamp(record["published_at"]),
        "run_key": record["run_key"],
    }


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table, with columns of numbers aligned to the right."""
    cells = [[_text(value) for value in row] for row in rows]
    is_numeric = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(heads))
    ]
    lines = [heads, ["---:" if numeric else "---" for numeric in is_numeric], *cells]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG inside Markdown, with its alternative text."""
    encoded = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{encoded})")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == ""
    return True
