"""Writes what soaks have injected to docs/guarantees.md."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_BLOCK = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- end of soak -->)", re.DOTALL)
_SEEDS = re.compile(r"of the seeds? ([\d, ]+), on")
_CELL = r"(\d+|-)(?: \((\d+)\))?"
_ROW = re.compile(rf"^\| (?!all )(.+?) \| {_CELL} \| {_CELL} \|$", re.MULTILINE)
_STORES = ("local", "s3")

# The number of faults by name, kind of corpus, and store.
Counts = Counter[tuple[str, str, str]]


def clear_counts() -> None:
    """Remove the counts from the page."""
    _write("")


def add_counts(injected: Counts, seed: int) -> None:
    """Add to the counts on the page.

    Args:
        injected: how many faults were injected, by name, kind of corpus and store.
        seed: of the soak.
    """
    block = _read()
    counts = _parse(block) + injected
    listed = _SEEDS.search(block)
    seeds = dict.fromkeys([*(listed[1].split(", ") if listed else ()), str(seed)])
    rows = [_row(name, counts, {name}) for name in sorted({name for name, _, _ in counts})]
    rows.append(_row("all", counts, {name for name, _, _ in counts}))
    _write(
        f"{counts.total()} faults of the seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}, on"
        f" {datetime.now(UTC):%Y-%m-%d}. After each episode, all tables were equal to those of an"
        " undisturbed run. In brackets: the faults that hit runs of all stages.\n\n"
        "| fault | local folder | S3 |\n|---|---|---|\n" + "".join(f"{row}\n" for row in rows)
    )


def _parse(block: str) -> Counts:
    counts = Counts()
    for name, *cells in _ROW.findall(block):
        for store, total, whole in zip(_STORES, cells[::2], cells[1::2], strict=True):
            counts[name, "whole", store] += int(whole or 0)
            counts[name, "curation", store] += int(total.replace("-", "0")) - int(whole or 0)
    return +counts


def _row(label: str, counts: Counts, names: set[str]) -> str:
    cells = []
    for store in _STORES:
        of_store = {k: n for k, n in counts.items() if k[0] in names and k[2] == store}
        whole = sum(n for (_, kind, _), n in of_store.items() if kind == "whole")
        cells.append(f"{sum(of_store.values()) or '-'}" + (f" ({whole})" if whole else ""))
    return f"| {label} | {' | '.join(cells)} |"


def _read() -> str:
    block = _BLOCK.search(_PAGE.read_text(encoding="utf-8"))
    assert block is not None, f"{_PAGE} has no place for the counts"
    return block[0]


def _write(block: str) -> None:
    page = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_BLOCK.sub(lambda _: block, page, count=1), encoding="utf-8")
