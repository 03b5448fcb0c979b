"""How a stage's result is written down for Dagster's page: counts, tables, pictures."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the store knows of a stage, as metadata; Dagster draws the numbers over time."""
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
    """Rows as a Markdown table, numbers to the right."""
    listed = [[_shown(value) for value in row] for row in rows]
    numeric = [
        bool(listed) and all(_is_number(row[column]) for row in listed)
        for column in range(len(heads))
    ]
    lines = [heads, ["---:" if n else "---" for n in numeric], *listed]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def picture(png: bytes, about: str) -> dg.MarkdownMetadataValue:
    """A PNG inside Markdown; `about` is read out where it cannot be seen."""
    encoded = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{about}](data:image/png;base64,{encoded})")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _is_number(shown: str) -> bool:
    try:
        float(shown)
    except ValueError:
        return shown == ""
    return True
