"""An encoder without a model, so that benchmarks measure everything but models.

The first two pixels of an image, and the last word of a text, hold the number of the sample. The
vector is that of the number: a topic, a part of the sample and noise of the modality.
"""

from typing import Any

import numpy as np

from embedders.encoder import unit_rows
from embedders.media.image import load_rgb

DIM, TOPICS = 512, 256


class NullEncoder:
    """Encodes a sample's number; unit vectors of `DIM`."""

    version = "1"
    dim = DIM

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.name = f"null-{modality}"
        self.fingerprint = f"{self.name}@{self.version}"
        self._topics = np.random.default_rng(0).standard_normal((TOPICS, DIM), np.float32)

    def prepare(self, raw: Any) -> int:
        if self.modality == "text":
            return int(str(raw).split()[-1])
        first, second = np.asarray(load_rgb(raw), np.int64)[0, :2]
        return int(first @ [1 << 16, 1 << 8, 1]) + (int(second[0]) << 24)

    def encode(self, batch: list[int]) -> np.ndarray:
        rows = np.empty((len(batch), DIM), np.float32)
        for row, number in zip(rows, batch, strict=True):
            sample = np.random.default_rng(number).standard_normal(DIM, np.float32)
            noise = np.random.default_rng([number, len(self.modality), ord(self.modality[0])])
            row[:] = self._topics[number % TOPICS] + sample
            row += noise.standard_normal(DIM, np.float32)
        return unit_rows(rows)


def image() -> NullEncoder:
    return NullEncoder("image")


def text() -> NullEncoder:
    return NullEncoder("text")
