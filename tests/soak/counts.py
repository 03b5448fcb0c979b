"""Writes what a soak has injected to docs/guarantees.md."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_BLOCK = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- end of soak -->)", re.DOTALL)


def write_counts(injected: Counter[tuple[str, str]], seed: int) -> None:
    """Replace the counts on the page.

    Args:
        injected: how many faults were injected, by name and store.
        seed: of the soak.
    """
    names = sorted({name for name, _ in injected})
    rows = [
        f"| {name} | {injected[name, 'local'] or '-'} | {injected[name, 's3'] or '-'} |"
        for name in names
    ]
    sums = [sum(n for (_, at), n in injected.items() if at == store) for store in ("local", "s3")]
    text = (
        f"{injected.total()} faults of the seed {seed}, on {datetime.now(UTC):%Y-%m-%d}. After"
        " each episode, all tables were equal to those of an undisturbed run.\n\n"
        "| fault | local folder | S3 |\n|---|---|---|\n"
        + "".join(f"{row}\n" for row in rows)
        + f"| all | {sums[0]} | {sums[1]} |\n"
    )
    page = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_BLOCK.sub(lambda match: text, page, count=1), encoding="utf-8")
