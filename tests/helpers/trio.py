"""A corpus with three modalities that are far apart in the space; each topic has parts of all."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from embedders.encoder import unit_rows
from embedders.media.image import load_rgb

DIM, TOPICS = 32, 12
PARTS = [("image", "text"), ("text", "audio"), ("image", "audio"), ("image", "text", "audio")]
GAP = {"image": 2.0, "text": 2.6, "audio": 1.5}
CONFIG = """\
sources:
  trio: {path: drops}
policy:
  image_min_side: {min: 4}
space: trio
spaces:
  trio:
    image: "python:tests.helpers.trio:TrioImage"
    text: "python:tests.helpers.trio:TrioText"
    audio: "python:tests.helpers.trio:TrioAudio"
corrections:
  methods: [nnn, csls]
  directions:
    "text->image": invgc_local+nnn
    "image->text": dynamic_inverted_softmax
    "image->image": csls
    "audio->image": local_scaling
"""


def vector(number: int, modality: str) -> np.ndarray:
    """The vector (DIM,) float32 of a part: the sum of topic, sample, part and modality.

    Not of unit length. The dimensions from `TOPICS + 1` on separate the modalities by `GAP`.
    """
    order = list(GAP).index(modality)
    sample, part = np.random.default_rng(number), np.random.default_rng([number, order])
    out = 0.3 * sample.normal(size=DIM) + 0.15 * part.normal(size=DIM)
    out[number % TOPICS] += 1.5
    out[TOPICS] += 0.6 * sample.random()  # hubs: some samples are near to all queries
    out[TOPICS + 1 + order] += GAP[modality]
    return out.astype(np.float32)


class _Trio:
    """An encoder whose input is a sample's number, which each part contains."""

    version = "1"
    dim = DIM
    modality = ""

    @property
    def name(self) -> str:
        return f"trio-{self.modality}"

    @property
    def fingerprint(self) -> str:
        return f"{self.name}@{self.version}"

    def encode(self, batch: list[int]) -> np.ndarray:
        return unit_rows(np.stack([vector(number, self.modality) for number in batch]))


class TrioImage(_Trio):
    modality = "image"

    def prepare(self, raw: Any) -> int:
        first = np.asarray(load_rgb(raw), int)[0, 0]
        return int(first[0] * 256 + first[1])


class TrioText(_Trio):
    modality = "text"

    def prepare(self, raw: Any) -> int:
        return int(str(raw).split()[-1])


class TrioAudio(_Trio):
    modality = "audio"

    def prepare(self, raw: Any) -> int:
        data = raw if isinstance(raw, bytes) else Path(raw).read_bytes()
        first = soundfile.read(io.BytesIO(data), frames=1)[0][0]  # of 16-bit values or of floats
        return round(first * 2**15)


def deliver(folder: Path, numbers: range) -> None:
    """Write samples, each with two or all three parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        stem = folder / f"t{number % TOPICS:02d}-{number:04d}"
        parts = PARTS[(number // TOPICS) % len(PARTS)]
        if "image" in parts:
            pixels = np.full((8, 8, 3), (number // 256, number % 256, 0), np.uint8)
            Image.fromarray(pixels).save(stem.with_suffix(".png"))
        if "text" in parts:
            stem.with_suffix(".txt").write_text(f"topic {number % TOPICS} number {number}")
        if "audio" in parts:
            sound = np.full(800, number, np.int16)
            soundfile.write(stem.with_suffix(".wav"), sound, 8000, subtype="PCM_16")
