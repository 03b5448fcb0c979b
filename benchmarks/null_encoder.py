"""An encoder without a model, so that benchmarks measure everything but models.

The first two pixels of an image, and the last word of a text, hold the number of the sample. The
vector is that of the number: a topic, a part of the sample and noise of the modality, of equal
variance. Models are excepted, so vectors are cheap: the part of the sample and the noise are sums
of rows of random tables, chosen by the digits of a permutation of the number. Vectors of different
numbers below 10^9 differ; in one sample of 300, the part of another one shares a row with it.
"""

from typing import Any

import numpy as np

from embedders.encoder import unit_rows
from embedders.media.image import load_rgb

DIM, TOPICS = 512, 256
_DIGITS, _BASE = 3, 1021  # a prime, so that the digits do not depend on the topic
# Multiplication modulo 1021^3 is a permutation: one for the sample's part, one for the noise.
_MULTIPLIERS = 657_823_991, 401_771_513


class NullEncoder:
    """Encodes a sample's number; unit vectors of `DIM`."""

    version = "2"
    dim = DIM

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.name = f"null-{modality}"
        self.fingerprint = f"{self.name}@{self.version}"
        self._topics = np.random.default_rng(0).standard_normal((TOPICS, DIM), np.float32)
        self._tables = [_tables([1]), _tables([2, *modality.encode()])]

    def prepare(self, raw: Any) -> int:
        if self.modality == "text":
            return int(str(raw).split()[-1])
        image = load_rgb(raw)
        *first, last = (*image.getpixel((0, 0)), image.getpixel((1, 0))[0])
        return int.from_bytes(bytes(first)) + (last << 24)

    def encode(self, batch: list[int]) -> np.ndarray:
        numbers = np.array(batch, np.int64)
        rows = self._topics[numbers % TOPICS]
        for tables, multiplier in zip(self._tables, _MULTIPLIERS, strict=True):
            permuted = numbers * multiplier % _BASE**_DIGITS
            for place, table in enumerate(tables):
                rows += table[permuted // _BASE**place % _BASE]
        return unit_rows(rows)


def _tables(seed: list[int]) -> np.ndarray:
    """Random rows by place and digit, (3, 1021, DIM); a sum of one a place has variance 1."""
    shape = _DIGITS, _BASE, DIM
    return np.random.default_rng(seed).standard_normal(shape, np.float32) / np.sqrt(_DIGITS)


def image() -> NullEncoder:
    return NullEncoder("image")


def text() -> NullEncoder:
    return NullEncoder("text")
