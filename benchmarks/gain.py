"""Measure the gain of corrections on real features, and whether bad banks do harm.

    python benchmarks/gain.py clip_coco500.npy

The file holds an array (2, pairs, dims): images, then their captions. In each random split, one
half is used for banks and validation and the other for the test, so the evaluation is inductive:
`auto` never sees the test half. The script prints tables and writes docs/gain.md.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from store.corrections import METHODS, evaluate, fit_many, select
from store.metrics import paired_bootstrap

MEASURES = ("r@1", "r@5", "r@10", "mrr", "k_skewness", "anti_hub_share")
COMPOSED = ("invgc_local+nnn", "invgc_local+inverted_softmax")
Half = tuple[np.ndarray, np.ndarray]
PAGE = Path(__file__).parents[1] / "docs" / "gain.md"


def halves(queries: np.ndarray, gallery: np.ndarray, seed: int) -> tuple[Half, Half]:
    """A random half for banks and validation, and the other half for the test."""
    order = np.random.default_rng(seed).permutation(len(queries))
    a, b = order[: len(order) // 2], order[len(order) // 2 :]
    return (queries[a], gallery[a]), (queries[b], gallery[b])


def full_bank(bank: Half, rng: np.random.Generator) -> dict:
    return pairs_and_banks(bank, bank, np.arange(len(bank[0])))


def random_bank(bank: Half, rng: np.random.Generator) -> dict:
    other = rng.normal(size=(2, *bank[0].shape)).astype(np.float32)
    return pairs_and_banks(bank, (other[0], other[1]), None)


def foreign_bank(bank: Half, rng: np.random.Generator) -> dict:
    """Vectors with the statistics of the real ones but permuted dimensions, as of another space."""
    order = rng.permutation(bank[0].shape[1])
    return pairs_and_banks(bank, (bank[0][:, order], bank[1][:, order]), None)


def tiny_bank(bank: Half, rng: np.random.Generator) -> dict:
    return pairs_and_banks(bank, (bank[0][:16], bank[1][:16]), np.arange(16))


def wrong_pairs(bank: Half, rng: np.random.Generator) -> dict:
    """Pairs of which one in ten has the caption of another pair."""
    swapped = bank[0].copy()
    wrong = rng.choice(len(swapped), len(swapped) // 10, replace=False)
    swapped[wrong] = swapped[np.roll(wrong, 1)]
    mixed = (swapped, bank[1])
    return pairs_and_banks(mixed, mixed, np.arange(len(swapped)))


def pairs_and_banks(pairs: Half, banks: Half, bank_ids: np.ndarray | None) -> dict:
    """The arguments of `select`."""
    ids = np.arange(len(pairs[0]))
    return {
        "gallery": pairs[1], "queries": pairs[0], "relevant": ids, "gallery_ids": ids,
        "query_bank": banks[0], "gallery_bank": banks[1],
        "query_bank_ids": bank_ids, "gallery_bank_ids": bank_ids,
    }  # fmt: skip


def evaluate_all(arguments: dict, test: Half, specs: list) -> tuple[list, str]:
    """Evaluations on the test half of raw, `auto` and `specs`; and the method that `auto` chose."""
    best = select(**arguments)
    banks = {name: arguments[name] for name in ("query_bank", "gallery_bank")}
    fitted = fit_many(["none", (best.method, best.params), *specs], gallery=test[1], **banks)
    right = np.arange(len(test[0]))
    return [evaluate(c, test[0], right) for c in fitted], best.method


def trials(
    queries: np.ndarray, gallery: np.ndarray, make: Callable, specs: list, splits: int, label: str
) -> tuple[np.ndarray, list, Counter]:
    """Figures (splits, systems, measures), intervals of `auto` over raw, and counts of choices."""
    figures, intervals, choices = [], [], Counter()
    for seed in track(range(splits), label):
        bank, test = halves(queries, gallery, seed)
        arguments = make(bank, np.random.default_rng(seed))
        evaluations, method = evaluate_all(arguments, test, specs)
        named = [e.figures() for e in evaluations]
        figures.append([[f[m] for m in MEASURES] for f in named])
        raw, auto = evaluations[:2]
        intervals.append(paired_bootstrap(auto.reciprocal_ranks, raw.reciprocal_ranks))
        choices[method] += 1
    return np.array(figures), intervals, choices


def show(console: Console, title: str, header: list[str], rows: list[list[str]]) -> str:
    """Print a table, and return it as Markdown."""
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    lines = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--bad-splits", type=int, default=10, help="splits of each bad setting")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    console = Console()
    images, captions = np.load(options.features)
    directions = {"text to image": (captions, images), "image to text": (images, captions)}
    names = [name for name in METHODS if name != "none"] + list(COMPOSED)
    systems = ["raw", "auto", *names]
    page = [
        "# Gain of corrections\n",
        f"{len(images)} image-caption pairs embedded with CLIP; {options.splits} random splits "
        "into two halves. One half is used for banks and validation, the other for the test, so "
        "the test items are new to the corrections. Figures are means over the splits; "
        "k-occurrence is at 10. Methods other than `auto` have default parameters. Written by "
        "`benchmarks/gain.py`.\n",
    ]
    for direction, (queries, gallery) in directions.items():
        figures, intervals, choices = trials(
            queries, gallery, full_bank, names, options.splits, direction
        )
        rows = [
            [name, *(f"{x:.3f}" for x in means)]
            for name, means in zip(systems, figures.mean(0), strict=True)
        ]
        page.append(show(console, direction, ["method", *MEASURES], rows))
        chosen = ", ".join(f"{method} {count}" for method, count in choices.most_common())
        page.append(
            f"`auto` over raw, reciprocal rank: {np.mean([i.mean for i in intervals]):+.4f} on "
            f"average; of {len(intervals)} 95% intervals, {sum(i.low > 0 for i in intervals)} are "
            f"above zero and {sum(i.high < 0 for i in intervals)} below. "
            f"Chosen: {chosen}.\n"
        )
        console.print(page[-1])
    rows = []
    for make, label in (
        (random_bank, "random vectors as banks"),
        (foreign_bank, "banks of another domain"),
        (tiny_bank, "banks of 16 rows"),
        (wrong_pairs, "10% wrong pairs"),
    ):
        for direction, (queries, gallery) in directions.items():
            figures, intervals, choices = trials(
                queries, gallery, make, [], options.bad_splits, f"{label}, {direction}"
            )
            raw, auto = figures.mean(0)[:, 0]
            rows.append([
                label, direction, f"{raw:.3f}", f"{auto:.3f}",
                f"{np.mean([i.mean for i in intervals]):+.4f}",
                str(sum(i.high < 0 for i in intervals)), str(choices["none"]),
            ])  # fmt: skip
    header = ["setting", "direction", "raw r@1", "auto r@1", "auto - raw (mrr)",
              "intervals below zero", "chose raw"]  # fmt: skip
    page.append(
        show(console, f"Bad banks and wrong pairs, {options.bad_splits} splits", header, rows)
    )
    options.page.write_text("\n".join(page))


if __name__ == "__main__":
    main()
