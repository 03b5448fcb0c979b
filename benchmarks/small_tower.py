"""Measure a small image tower that chooses what a large one encodes (`only_for` of a space).

    python -m benchmarks.small_tower demo

The small tower is EfficientNet-Lite0 alone, with the MiniLM vectors of ImageNet's class names
(ConSE). The large one is the local preset: Lite0 and Lite2, with learned heads. A share of the
captions is swapped, among the stamps that the heads were not learned from. A pair is chosen if the
rank of its image is at most `max`, as with `only_for: {text_image_rank: {max: ...}}`. Then the
captions that were not swapped search the images that the large tower has encoded: R@10. A caption
whose image was not chosen does not find it. Processor seconds are those of images, with decoding.
"""

import argparse
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Seconds, timed
from embedders.local.efficientnet import EfficientNetLite
from embedders.local.image import LocalImage
from embedders.local.packages import efficientnet_file
from embedders.local.text import LocalText
from pipelines.local_heads.holdout import difference_hash, group_similar, held_out
from store.workspace import Workspace

_BATCH = 32
_MOST = (0.02, 0.05, 0.1, 0.2, 0.4)
_DRAWS = 20


class SmallImage(LocalImage):
    """ConSE by EfficientNet-Lite0. Its vectors are in the space of MiniLM's."""

    @cached_property
    def _models(self) -> dict[int, Any]:
        return {0: EfficientNetLite(0, efficientnet_file(0))}

    def prepare(self, raw: Any) -> tuple[np.ndarray, ...]:
        return super().prepare(raw)[:1]

    def encode(self, batch: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        return self.features(batch).meaning


def encoded(tower: LocalImage, images: list[bytes]) -> tuple[Seconds, np.ndarray]:
    """The time and the vectors, (n, d), of images."""
    tower.encode([tower.prepare(images[0])])  # loads the networks

    def run() -> np.ndarray:
        batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
        return np.concatenate([tower.encode(list(map(tower.prepare, b))) for b in batches])

    return timed(run)


def ranks(texts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The share of images that are nearer to each text than its own, (n,)."""
    cosines = texts @ images.T
    return (cosines > cosines.diagonal()[:, None]).mean(axis=1)


def recall(
    texts: np.ndarray, images: np.ndarray, queries: np.ndarray, gallery: np.ndarray
) -> float:
    """R@10 of the texts `queries`, (n,) bool, among the images `gallery`, (n,) bool."""
    cosines = texts[queries] @ images[gallery].T
    own = (texts[queries] * images[queries]).sum(axis=1)
    return float((((cosines > own[:, None] + 1e-6).sum(axis=1) < 10) & gallery[queries]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("corpus", type=Path, help="a corpus that `isotrope demo` made")
    parser.add_argument("--swapped", type=float, default=0.2, help="share of captions")
    options = parser.parse_args()
    table = Workspace.open(options.corpus).tables.open("samples")
    every = table.to_table(
        columns=["key", "text", "image"], filter="image IS NOT NULL AND text IS NOT NULL"
    )
    keys, texts, images = (every[name].to_pylist() for name in every.column_names)
    groups = group_similar(keys, texts, np.array(list(map(difference_hash, images))))
    held = np.flatnonzero(held_out(keys, groups)).tolist()
    texts, images = ([column[i] for i in held] for column in (texts, images))
    (small, small_images), (large, large_images) = (
        encoded(tower, images) for tower in (SmallImage(), LocalImage())
    )
    small_texts = LocalText().features(texts)
    large_texts = LocalText().encode(texts)
    print(f"{len(images)} images, processor s: small {small.cpu:.1f}, large {large.cpu:.1f}")
    sums: dict[str, list[list[float]]] = {}
    for seed in range(_DRAWS):
        rng = np.random.default_rng(seed)
        moved = rng.permutation(len(images))[: round(options.swapped * len(images))]
        caption = np.arange(len(images))
        caption[moved] = np.roll(moved, 1)
        right = caption == np.arange(len(images))
        by_small = ranks(small_texts[caption], small_images)
        by_large = ranks(large_texts[caption], large_images)
        chosen = {"all": np.ones(len(images), bool)}
        chosen |= {f"rank at most {most}": by_small <= most for most in _MOST}
        for name, own in chosen.items():
            seconds = large.cpu * own.mean() + (0 if name == "all" else small.cpu)
            same_number = {
                "": own,
                "large": np.argsort(np.argsort(by_large, kind="stable")) < own.sum(),
                "random": rng.permutation(own),
            }
            figures = [
                recall(large_texts, large_images, right, gallery)
                for gallery in same_number.values()
            ]
            encodings = [own.mean(), own[~right].mean() if not right.all() else 0.0]
            sums.setdefault(name, []).append([*encodings, 1 - seconds / large.cpu, *figures])
    print(
        "| chosen | encoded | of swapped pairs | processor s saved | R@10"
        " | as many chosen by the large tower | by chance |\n|" + "---|" * 7
    )
    for name, values in sums.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in np.mean(values, axis=0))} |")


if __name__ == "__main__":
    main()
