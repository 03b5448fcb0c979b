"""`make heads`: fetch the drawings, train the heads, and write the heads and docs/local.md.

Usage: python -m pipelines.local_heads CACHE. Packages and features are kept in CACHE, about 500 MB.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import embedders.local
from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from embedders.projection import Projection
from pipelines.local_heads.captioned_drawings import READERS, versions
from pipelines.local_heads.evaluate import evaluate_audio, evaluate_text_and_image
from pipelines.local_heads.features import Features, features
from pipelines.local_heads.holdout import group_similar, held_out
from pipelines.local_heads.train import (
    SETTINGS,
    train_audio,
    train_text_and_image,
    without_copies,
)
from pipelines.local_heads.write_docs import page

HEADS = Path(embedders.local.__file__ or "").parent / "heads"
PAGE = Path(__file__).parents[2] / "docs" / "local.md"


def split(stamps: Features) -> tuple[Features, Features]:
    """Split the stamps into those to train on and those that are held out."""
    keys = stamps.keys.tolist()
    groups = group_similar(keys, stamps.captions.tolist(), stamps.hashes)
    is_held_out = held_out(keys, groups)
    return stamps.where(~is_held_out), stamps.where(is_held_out)


def main(cache: Path) -> None:
    progress = print
    cache.mkdir(parents=True, exist_ok=True)
    collections = {name: features(name, cache, progress) for name in READERS}
    training, held = split(collections.pop("stamps"))
    others = without_copies(collections, held)
    training_sets: dict[str, list[Features]] = {"stamps": []}
    training_sets |= {f"stamps, {name}": [part] for name, part in others.items()}
    ablation: dict[str, Any] = {}
    for name, parts in training_sets.items():
        progress(f"training on {name}")
        heads = train_text_and_image(training, parts)
        ablation[name] = evaluate_text_and_image(held, *heads)
    progress("training on everything")
    text, image = train_text_and_image(training, list(others.values()))
    audio = train_audio(training, text, image)
    figures = evaluate_text_and_image(held, text, image) | evaluate_audio(held, text, image, audio)
    ablation["everything"] = figures
    counts = {"stamps": len(training.keys), **{n: len(part.keys) for n, part in others.items()}}
    meta: dict[str, Any] = {
        "drawings": counts,
        "recordings": int(training.has_audio().sum()),
        "held_out": len(held.keys),
        "data": versions(cache),
        "encoders": {e.name: e.version for e in (LocalText(), LocalImage(), LocalAudio())},
        "settings": SETTINGS,
        "figures": {name: row.figures for name, row in figures.items()},
    }
    HEADS.mkdir(exist_ok=True)
    for name, head in (("text", text), ("image", image), ("audio", audio)):
        file = HEADS / f"{name}.safetensors"
        Projection(head.tensors, meta).save(file, np.float16)
        file.chmod(0o644)
    PAGE.write_text(page(figures, ablation, meta), encoding="utf-8")
    progress(f"wrote {HEADS} and {PAGE}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/heads"))
