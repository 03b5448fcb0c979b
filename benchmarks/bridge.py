"""The figures of bridges in docs/retrieval.md.

    python -m benchmarks.bridge FEATURES...

FEATURES are files of CLIP vectors of pairs, `clip_coco500.npy` and `clip_fashion1000.npz`. There is
no second model of the same pictures, so a newer one is simulated: its vectors are the old ones
turned into 640 dimensions, with noise of its own for each vector (*linear*), or the squashed
outputs of 1,024 random units (*nonlinear*), which no linear map undoes. Full re-embedding is
measured in the same way. A bridge sees the texts of half of the pairs, figures are of the others.

`RetrainedText` and `RetrainedImage` are the frozen networks of the local space without its heads. A
space that `isotrope align` makes of them is another space with real vectors:

    spaces:
      retrained:
        text: {encoder: "python:benchmarks.bridge:RetrainedText", aligned_by: image}
        image: {encoder: "python:benchmarks.bridge:RetrainedImage", aligned_by: text}
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feature_sets import Pairs, read_file, unit
from embedders.alignment.bridge import Rows
from embedders.encoder import fingerprint, unit_rows
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from embedders.projection import Projection
from pipelines.bridge.choose import text_bridge
from pipelines.bridge.report import retained
from store.corrections import fit
from store.corrections.evaluate import evaluate

SEEDS = 5
WIDTH, UNITS = 640, 1024
Model = Callable[[np.ndarray, int], np.ndarray]


class RetrainedText(LocalText):
    """MiniLM without the head of the local space."""

    name, dim = "retrained-text", 384
    fingerprint = fingerprint("retrained-text", "1")

    def encode(self, batch: list[str]) -> np.ndarray:
        return self.features(batch)


class RetrainedImage(LocalImage):
    """EfficientNet-Lite without the head of the local space."""

    name, dim = "retrained-image", 3552
    fingerprint = fingerprint("retrained-image", "1")

    def encode(self, batch: list[Any]) -> np.ndarray:
        return unit_rows(self.features(batch).visual)


def linear(noise: float) -> Model:
    """A model whose vectors are turned ones with noise, of a length of `noise`."""

    def encode(rows: np.ndarray, seed: int) -> np.ndarray:
        width = max(WIDTH, rows.shape[1])  # fewer numbers would lose some of the old ones
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(width, rows.shape[1])))[0].T
        added = np.random.default_rng((seed, len(rows))).normal(size=(len(rows), width))
        return unit(rows @ turn + noise * added / np.sqrt(width))

    return encode


def nonlinear(rows: np.ndarray, seed: int) -> np.ndarray:
    """A model of random units: tanh(8 x W)."""
    weights = np.random.default_rng(2).normal(size=(rows.shape[1], UNITS))
    return unit(np.tanh(8 * rows @ weights / np.sqrt(rows.shape[1])))


MODELS = {"linear, no noise": linear(0), "linear, noise 0.3": linear(0.3), "nonlinear": nonlinear}


def first_ranks(queries: np.ndarray, gallery: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(m,) 1 if a right answer, an item of the query's cluster, is among the best ten, else 0."""
    relevant = [np.flatnonzero(clusters == cluster) for cluster in clusters]
    raw = fit("none", gallery=gallery, query_bank=queries[:1], gallery_bank=gallery[:1])
    return evaluate(raw, queries, relevant).measures()["r@10"]


def measure(pairs: Pairs, texts_are_queries: bool, model: Model) -> str:
    """R@10 of the old model, bridged queries and full re-embedding, and the retained shares."""
    values: dict[str, list[np.ndarray]] = {"old": [], "bridged": [], "new": []}
    groups = []
    for seed in range(SEEDS):
        bank, test = pairs.halves(seed)
        texts = bank.queries if texts_are_queries else bank.gallery
        new_texts = model(texts, 2 * seed)
        cut = len(texts) * 4 // 5
        chosen = text_bridge(
            [Rows(new_texts[:cut], texts[:cut])], Rows(new_texts[cut:], texts[cut:])
        )
        queries = model(test.queries, 2 * seed + 1)
        gallery = model(test.gallery, 2 * seed + SEEDS * 2)
        values["old"].append(first_ranks(test.queries, test.gallery, test.clusters))
        values["bridged"].append(
            first_ranks(chosen.projection(queries), test.gallery, test.clusters)
        )
        values["new"].append(first_ranks(queries, gallery, test.clusters))
        groups.append(test.clusters)
    joined = {name: np.concatenate(each) for name, each in values.items()}
    clusters = np.concatenate(groups)
    cells = [f"{joined[name].mean():.3f}" for name in values]
    for reference in ("old", "new"):
        share = retained(joined["bridged"], joined[reference], clusters)
        cells.append(f"{share['mean']:.3f} ({share['low']:.3f} to {share['high']:.3f})")
    return " | ".join(cells)


def tables(files: list[Path]) -> Iterator[str]:
    """The rows of the table of simulated models."""
    for file in files:
        for pairs in read_file(file):
            direction = pairs.name.partition(", ")[2]
            for name, model in MODELS.items():
                is_text = direction.startswith("text")
                yield f"| {pairs.name} | {name} | {measure(pairs, is_text, model)} |"


def cost() -> Iterator[str]:
    """The milliseconds and bytes of a bridge, and the seconds of a fit."""
    rng = np.random.default_rng(0)
    for old, new in ((512, 640), (704, 384), (1024, 1024)):
        weight = rng.normal(size=(new, old)).astype(np.float32)
        bridge = Projection({"weight": weight, "bias": np.zeros(old, np.float32)})
        query = unit(rng.normal(size=(1, new)))
        started = time.perf_counter()
        for _ in range(200):
            bridge(query)
        milliseconds = (time.perf_counter() - started) / 200 * 1000
        rows = Rows(unit(rng.normal(size=(10_000, new))), unit(rng.normal(size=(10_000, old))))
        started = time.perf_counter()
        text_bridge([rows], rows)
        seconds = time.perf_counter() - started
        yield f"| {new} to {old} | {milliseconds:.2f} | {weight.nbytes / 1e6:.1f} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path, nargs="*")
    options = parser.parse_args()
    print("| set | newer model | old | bridged | re-embedded | of old | of re-embedded |")
    print("|---|---|---|---|---|---|---|")
    for row in tables(options.features):
        print(row, flush=True)
    print("\n| dimensions | ms a query | MB | fit, s for 10,000 texts |\n|---|---|---|---|")
    for row in cost():
        print(row, flush=True)


if __name__ == "__main__":
    main()
