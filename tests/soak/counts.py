"""Writes what a soak has injected to docs/guarantees.md."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_BLOCK = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- end of soak -->)", re.DOTALL)


def write_counts(injected: Counter[tuple[str, str, str]], seed: int) -> None:
    """Replace the counts on the page.

    Args:
        injected: how many faults were injected, by name, kind of corpus and store.
        seed: of the soak.
    """
    names = sorted({name for name, _, _ in injected})
    rows = [_row(name, injected, {name}) for name in names]
    text = (
        f"{injected.total()} faults of the seed {seed}, on {datetime.now(UTC):%Y-%m-%d}. After"
        " each episode, all tables were equal to those of an undisturbed run. In brackets: the"
        " faults that hit runs of all stages.\n\n"
        "| fault | local folder | S3 |\n|---|---|---|\n"
        + "".join(f"{row}\n" for row in [*rows, _row("all", injected, set(names))])
    )
    page = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_BLOCK.sub(lambda match: text, page, count=1), encoding="utf-8")


def _row(label: str, injected: Counter[tuple[str, str, str]], names: set[str]) -> str:
    cells = []
    for store in ("local", "s3"):
        of_kind: Counter[str] = Counter()
        for (name, kind, at), count in injected.items():
            if name in names and at == store:
                of_kind[kind] += count
        whole = f" ({of_kind['whole']})" if of_kind["whole"] else ""
        cells.append(f"{of_kind.total()}{whole}" if of_kind else "-")
    return f"| {label} | {' | '.join(cells)} |"
