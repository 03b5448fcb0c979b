"""Measure what heads learn from few pairs, by method, and whether learning curves foretell more.

    python benchmarks/few_pairs.py features/*.np[yz] --stamps demo

Heads are learned from some pairs of one half, and asked on the other half: R@1, mean of both
directions and of the draws. The stamps are images and captions by frozen networks that know nothing
of each other (EfficientNet-Lite and MiniLM), the planted pairs two nonlinear views of the same
numbers; the other files are features of aligned encoders. `auto` is what cross-validation chooses.

The last column is what `isotrope align` says: the gain of twice the pairs by the learning curve.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from feature_sets import Pairs, add_arguments, one_direction_each, unit

from embedders.alignment.align import align, held_out_figures
from embedders.alignment.choose import STRUCTURE, choose, learning_curve
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from store.workspace import Workspace

SIZES = (50, 100, 500, 1000, 4000)
METHODS = {
    "ridge": {"method": "ridge"},
    "cca, both sides": {"method": "cca", "two_sided": True},
    "linear": {},
    f"linear, structure {STRUCTURE:g}": {"structure": STRUCTURE},
    "mlp": {"kind": "mlp"},
    f"mlp, structure {STRUCTURE:g}": {"kind": "mlp", "structure": STRUCTURE},
}
BATCH, MOST_ASKED = 32, 1000


def frozen_stamps(corpus: Path) -> Pairs:
    """Images and captions of a corpus that `isotrope demo` made, by networks without heads."""
    tables = Workspace.open(corpus).tables
    rows = tables.open("samples").to_table(columns=["image", "text", "text_id"]).to_pylist()
    rows = [row for row in rows if row["image"] and row["text"]]
    image, text = LocalImage(), LocalText()
    seen: list[np.ndarray] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        seen.append(image.features([image.prepare(row["image"]) for row in batch]).visual)
    words = np.concatenate(
        [
            text.features([text.prepare(row["text"]) for row in rows[start : start + BATCH]])
            for start in range(0, len(rows), BATCH)
        ]
    )
    clusters = np.unique([row["text_id"] for row in rows], return_inverse=True)[1]
    return Pairs("stamps by frozen networks", np.concatenate(seen), unit(words), clusters)


def planted(count: int) -> Pairs:
    """Two nonlinear views of 64 common numbers, with noise."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(count, 64))
    x, y = (
        np.tanh(common @ rng.normal(size=(64, 256)) / 4) + 1.5 * rng.normal(size=(count, 256))
        for _ in range(2)
    )
    return Pairs("planted", x.astype(np.float32), unit(y), np.arange(count))


def recall(train: Pairs, test: Pairs, settings: dict) -> float:
    learned = align(train.queries, train.gallery, groups=train.clusters, **settings)
    heads = [learned.x] if learned.y is None else [learned.x, learned.y]
    figures = held_out_figures(heads, test.queries, [test.gallery], test.clusters)
    return float(np.mean([each["r@1"] for each in figures.values()]))


def rows(pairs: Pairs, options: argparse.Namespace) -> Iterator[list[str]]:
    most = len(pairs.halves(0)[0].queries)
    for size in sorted({min(size, most) for size in SIZES}):
        draws = options.draws if size <= 500 else 1
        values: dict[str, list[float]] = {name: [] for name in (*METHODS, "auto")}
        gains, chosen = [], []
        start = time.process_time()
        for seed in range(draws):
            half, test = pairs.halves(seed)
            test = test.take(np.arange(min(len(test.queries), MOST_ASKED)))
            train = half.take(np.random.default_rng(seed).permutation(len(half.queries))[:size])
            for name, settings in METHODS.items():
                values[name].append(recall(train, test, settings))
            settings, tried = choose(train.queries, [train.gallery], groups=train.clusters)
            values["auto"].append(recall(train, test, settings))
            chosen += [each.name for each in tried if each.chosen]
            curve = learning_curve(
                train.queries, [train.gallery], groups=train.clusters, **settings
            )
            gains += [] if curve.gain is None else [curve.gain]
        means = [f"{np.mean(each):.3f}" for each in values.values()]
        gain = f"{np.mean(gains):+.3f}" if gains else "too few"
        names = ", ".join(sorted(set(chosen)))
        seconds = f"{(time.process_time() - start) / draws:.0f}"
        yield [pairs.name, f"{len(train.queries):,}", *means, names, gain, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--planted", type=int, default=9_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stamps, options.stamps = options.stamps, None
    sets = one_direction_each(options)
    if options.planted:
        sets.insert(0, planted(options.planted))
    if stamps:
        sets.append(frozen_stamps(stamps))
    heads = ["pairs", "learned from", *METHODS, "auto", "chosen", "twice the pairs", "seconds"]
    print("|", " | ".join(heads), "|\n|" + "---|" * len(heads))
    for pairs in sets:
        for cells in rows(pairs, options):
            print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
