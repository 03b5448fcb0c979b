"""Measure whether the layers that are most alike are those that align best.

    python benchmarks/layers.py demo

The stamps' images by EfficientNet-Lite (four depths) and captions by MiniLM (six layers), which
know nothing of each other. For each pair of layers: their mutual nearest neighbours on the pairs
that heads are learned from, and R@1 of the other half, mean of both directions and of the draws, by
ridge regression and by canonical correlation. "all" is the depths or layers side by side.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from feature_sets import Pairs, unit
from few_pairs import BATCH, recall

from embedders.alignment.layers import mutual_neighbours
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from store.workspace import Workspace

METHODS = {"ridge": {"method": "ridge"}, "cca": {"method": "cca", "two_sided": True}}


def layers_of_stamps(corpus: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list]:
    """Layers of images and captions by name, and the captions' ids."""
    tables = Workspace.open(corpus).tables
    rows = tables.open("samples").to_table(columns=["image", "text", "text_id"]).to_pylist()
    rows = [row for row in rows if row["image"] and row["text"]]
    sides = []
    for encoder, column in ((LocalImage(), "image"), (LocalText(), "text")):
        outputs = [
            encoder.encode_layers([encoder.prepare(row[column]) for row in rows[n : n + BATCH]])[0]
            for n in range(0, len(rows), BATCH)
        ]
        layers = [unit(np.concatenate(each)) for each in zip(*outputs, strict=True)]
        named = {str(number): layer for number, layer in enumerate(layers, 1)}
        sides.append(named | {"all": unit(np.concatenate(layers, axis=1))})
    return *sides, [row["text_id"] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path, help="a corpus that `isotrope demo` made")
    parser.add_argument("--pairs", type=int, nargs="*", default=[100, 478])
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, texts, ids = layers_of_stamps(options.corpus)
    clusters = np.unique(ids, return_inverse=True)[1]
    heads = ["image", "text", "mutual neighbours"]
    heads += [f"{method}, {size} pairs" for size in options.pairs for method in METHODS]
    print("|", " | ".join(heads), "|\n|" + "---|" * len(heads))
    table = []
    for image, x in images.items():
        for text, y in texts.items():
            pairs = Pairs("stamps", x, y, clusters)
            shares, values = [], []
            for seed in range(options.draws):
                half, test = pairs.halves(seed)
                order = np.random.default_rng(seed).permutation(len(half.queries))
                own = half.take(order[: max(options.pairs)])
                layers = [own.queries], [own.gallery]
                shares.append(mutual_neighbours(*layers, groups=own.clusters)[0, 0])
                values.append(
                    [
                        recall(half.take(order[:size]), test, settings)
                        for size in options.pairs
                        for settings in METHODS.values()
                    ]
                )
            row = [np.mean(shares), *np.mean(values, axis=0)]
            table.append(row)
            print("|", image, "|", text, "|", " | ".join(f"{v:.3f}" for v in row), "|", flush=True)
    ranks = np.argsort(np.argsort(np.array(table), axis=0), axis=0)
    for name, column in zip(heads[3:], ranks.T[1:], strict=True):
        correlation = np.corrcoef(ranks[:, 0], column)[0, 1]
        print(f"rank correlation of mutual neighbours with {name}: {correlation:.2f}")


if __name__ == "__main__":
    main()
