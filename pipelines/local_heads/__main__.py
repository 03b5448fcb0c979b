"""`make heads`: fetch the drawings, train the heads, write them and docs/local.md.

python -m pipelines.local_heads CACHE: packages and features are kept in CACHE, some 500 MB.
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
from pipelines.local_heads.evaluate import text_and_image, with_audio
from pipelines.local_heads.features import Features, features
from pipelines.local_heads.holdout import groups, held_out
from pipelines.local_heads.train import SETTINGS, learn_audio, learn_text_and_image, without_copies
from pipelines.local_heads.write_docs import page

HEADS = Path(embedders.local.__file__ or "").parent / "heads"
PAGE = Path(__file__).parents[2] / "docs" / "local.md"


def halves(stamps: Features) -> tuple[Features, Features]:
    """The stamps to train on, and those that are held out."""
    keys = stamps.keys.tolist()
    held = held_out(keys, groups(keys, stamps.captions.tolist(), stamps.hashes))
    return stamps.where(~held), stamps.where(held)


def main(cache: Path) -> None:
    say = print
    cache.mkdir(parents=True, exist_ok=True)
    found = {name: features(name, cache, say) for name in READERS}
    training, held = halves(found.pop("stamps"))
    others = without_copies(found, held)
    sets = {name: [others[name]] for name in others}
    tried: dict[str, list[Features]] = {"stamps": []}
    tried |= {f"stamps, {name}": part for name, part in sets.items()}
    ablation: dict[str, Any] = {}
    for name, parts in tried.items():
        say(f"training on {name}")
        ablation[name] = text_and_image(held, *learn_text_and_image(training, parts))
    say("training on everything")
    text, image = learn_text_and_image(training, list(others.values()))
    audio = learn_audio(training, text, image)
    figures = text_and_image(held, text, image) | with_audio(held, text, image, audio)
    ablation["everything"] = figures
    counts = {"stamps": len(training.keys), **{n: len(part.keys) for n, part in others.items()}}
    meta: dict[str, Any] = {
        "drawings": counts,
        "recordings": int(np.isfinite(training.heard).all(axis=1).sum()),
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
    say(f"wrote {HEADS} and {PAGE}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/heads"))
