"""A newer model for the corpus of squares: its vectors are turned, wider and a little noisy."""

import os
import zlib
from typing import Any

import numpy as np

from embedders.encoder import unit_rows
from tests.helpers.corpus import DIM, ColourImage, ColourText

WIDTH, NOISE = 24, 0.05
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, DIM)))[0].T.astype(np.float32)
QUERY_SPACE = """\
query_spaces:
  turned:
    image: "python:tests.helpers.turned:TurnedImage"
    text: "python:tests.helpers.turned:TurnedText"
"""


def turn(rows: np.ndarray, noise: float = NOISE) -> np.ndarray:
    """Rows (n, DIM) in the newer space, (n, WIDTH). The noise depends on the row alone."""
    seeds = [zlib.crc32(row.tobytes()) for row in np.round(rows, 5)]
    added = [np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds]
    return unit_rows(rows @ TURN + noise * np.array(added, np.float32).reshape(-1, WIDTH))


class TurnedImage(ColourImage):
    """Appends a dot for each image to the file in TURNED_LOG, if set."""

    name = "turned-image"
    dim = WIDTH
    fingerprint = "turned-image@1"

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        if path := os.environ.get("TURNED_LOG"):
            with open(path, "a", encoding="utf-8") as log:
                log.write("." * len(batch))
        return turn(super().encode(batch))


class TurnedText(ColourText):
    """Returns NaN for texts with the word "hollow"."""

    name = "turned-text"
    dim = WIDTH
    fingerprint = "turned-text@1"

    def encode(self, batch: list[str]) -> np.ndarray:
        vectors = turn(super().encode(batch))
        vectors[["hollow" in text for text in batch]] = np.nan
        return vectors


class HollowText(TurnedText):
    """Makes nothing but NaN."""

    fingerprint = "hollow-text@1"

    def encode(self, batch: list[Any]) -> np.ndarray:
        return np.full((len(batch), WIDTH), np.nan, np.float32)
