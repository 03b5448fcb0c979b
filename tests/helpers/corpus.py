"""A generated corpus: coloured squares with captions, and encoders that compare their colours."""

import io
import json
import os
import signal
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embedders.encoder import unit_rows
from embedders.media.image import load_rgb

DIM = 16
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 40),
    "blue": (30, 40, 220),
    "yellow": (230, 220, 40),
    "grey": (128, 128, 128),
}
CONFIG = """\
sources:
  squares: {path: drops}
policy:
  image_min_side: {min: 16}
space: colours
spaces:
  colours:
    image: "python:tests.helpers.corpus:ColourImage"
    text: "python:tests.helpers.corpus:ColourText"
"""


def _vector(colour: tuple[float, ...], number: int, noise: float) -> np.ndarray:
    """A vector of the colour, of the number, and of a shared direction that makes hubs."""
    rng = np.random.default_rng(number)
    out = np.zeros(DIM, np.float32)
    out[:3] = np.asarray(colour, np.float32) / 255 - 0.4
    out[3] = 0.3
    out[4:] = 0.4 * rng.normal(size=DIM - 4)
    return out + noise * np.random.default_rng(number + 10_000).normal(size=DIM).astype(np.float32)


class ColourImage:
    """Encodes the median colour of an image, and the number that is written in its first pixel."""

    name = "colour-image"
    version = "1"
    modality = "image"
    dim = DIM
    fingerprint = "colour-image@1"

    def prepare(self, raw: Any) -> np.ndarray:
        return np.asarray(load_rgb(raw), np.float32)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        rows = []
        for pixels in batch:
            colour = tuple(np.median(pixels.reshape(-1, 3), axis=0))
            corner = pixels[0, 0]
            rows.append(_vector(colour, int(corner[0]) * 256 + int(corner[1]), 0.0))
        return unit_rows(np.stack(rows))


class ColourText:
    """Encodes the colour that a text names, and the number at its end."""

    name = "colour-text"
    version = "1"
    modality = "text"
    dim = DIM
    fingerprint = "colour-text@1"
    token_dim = 8

    def encode_tokens(self, batch: list[str]) -> list[np.ndarray]:
        """A vector for each word; texts with the word "unreadable" have none."""
        if any("unreadable" in text for text in batch):
            raise ValueError("unreadable")
        words = [[zlib.crc32(word.encode()) for word in text.split()] for text in batch]
        return [
            np.array([np.random.default_rng(w).normal(size=8) for w in own], np.float32)
            for own in words
        ]

    def prepare(self, raw: Any) -> str:
        return str(raw)

    def encode(self, batch: list[str]) -> np.ndarray:
        rows = []
        for text in batch:
            words = text.strip(".").split()
            colours = [c for c in COLOURS if c in words]
            colour = COLOURS[colours[0]] if colours else (100.0, 100.0, 100.0)
            last = words[-1] if words else ""
            number = int(last) if last.isdigit() else zlib.crc32(text.encode()) % 60_000
            rows.append(_vector(colour, number, 0.1))
        return unit_rows(np.stack(rows))


def picture(colour: tuple[int, int, int], number: int, side: int = 24) -> bytes:
    """A PNG of one colour, with the number written into the first pixel."""
    image = Image.new("RGB", (side, side), colour)
    image.putpixel((0, 0), (number // 256, number % 256, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def deliver(folder: Path, count: int, first: int = 0, languages: bool = False) -> None:
    """Write `count` squares and their captions into the folder of a drop.

    Args:
        first: the number of the first square.
        languages: also write captions in German, which name no colour that the encoder knows, and
            for some squares in two varieties of Portuguese.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(COLOURS)
    for number in range(first, first + count):
        name = names[number % len(names)]
        stem = folder / f"{name}-{number:04d}"
        stem.with_suffix(".png").write_bytes(picture(COLOURS[name], number))
        stem.with_suffix(".txt").write_text(f"a {name} square number {number}", encoding="utf-8")
        if languages:
            captions = {"de": f"Quadrat {number} von vielen"}
            captions |= {"pt": f"um quadrado {number}"} if number % 2 else {}
            captions |= {"pt_BR": f"um quadrado {number}"} if number % 4 else {}
            stem.with_suffix(".json").write_text(json.dumps({"captions": captions}))


def write_config(root: Path, config: str = CONFIG) -> None:
    """Make the folder of a corpus, with its corpus.yaml."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "corpus.yaml").write_text(config, encoding="utf-8")


class SlowImage(ColourImage):
    """Slow; writes a line for each image that it encodes to the file in ENCODED_LOG, if set."""

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.02 * len(batch))
        if path := os.environ.get("ENCODED_LOG"):
            with Path(path).open("a", encoding="utf-8") as log:
                log.writelines(f"{p[0, 0, 0]:.0f}-{p[0, 0, 1]:.0f}\n" for p in batch)
        return super().encode(batch)


class SteadyImage(ColourImage):
    """Slow enough to be killed while it works."""

    def prepare(self, raw: Any) -> np.ndarray:
        time.sleep(0.002)
        return super().prepare(raw)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.004 * len(batch))
        return super().encode(batch)


class PoisonedText(ColourText):
    """Raises, kills its process or returns NaN for captions that say so."""

    def encode(self, batch: list[str]) -> np.ndarray:
        if any("raises" in text for text in batch):
            raise ValueError("poison")
        if any("kills" in text for text in batch):
            os.kill(os.getpid(), signal.SIGKILL)
        vectors = super().encode(batch)
        vectors[["not a number" in text for text in batch]] = np.nan
        return vectors


class NewerText(ColourText):
    """`ColourText` with other weights."""

    fingerprint = "colour-text@2"

    def encode(self, batch: list[str]) -> np.ndarray:
        return -super().encode(batch)
