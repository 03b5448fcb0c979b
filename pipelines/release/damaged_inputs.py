"""Inputs of queries that are changed or damaged on purpose, for the stress evaluation."""

import io
import re

import numpy as np
import soundfile
from PIL import Image

from embedders.media.audio import load_mono
from embedders.media.image import load_rgb

_WORD = re.compile(r"\w{3,}")
_RATE, _MOST_SECONDS = 16_000, 30.0
_NOISE = 48.0  # standard deviation of the noise in images, of 255
_DECIBELS = 10.0  # of the recording over the noise


def swap_words(text: str, rng: np.random.Generator) -> str | None:
    """The text with two different words exchanged, of three letters or more. None if it has no
    two such words."""
    words = list(_WORD.finditer(text))
    pairs = [
        (a, b) for n, a in enumerate(words) for b in words[n + 1 :] if a[0].lower() != b[0].lower()
    ]
    if not pairs:
        return None
    a, b = pairs[int(rng.integers(len(pairs)))]
    return text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]


def insert_word(text: str, word: str, rng: np.random.Generator) -> str:
    """The text with a word before one of its words."""
    starts = [match.start() for match in _WORD.finditer(text)] or [0]
    start = starts[int(rng.integers(len(starts)))]
    return f"{text[:start]}{word} {text[start:]}"


def words_of(text: str) -> set[str]:
    """The different words of three letters or more, in lower case."""
    return {word.lower() for word in _WORD.findall(text)}


def drop_words(text: str) -> str:
    """Every second word, from the first."""
    return " ".join(text.split()[::2]) or text


def corrupt_text(text: str, rng: np.random.Generator) -> str:
    """The text with two neighbouring characters exchanged in each word of three letters or more."""

    def exchanged(match: re.Match[str]) -> str:
        word, n = match[0], int(rng.integers(len(match[0]) - 1))
        return word[:n] + word[n + 1] + word[n] + word[n + 2 :]

    return _WORD.sub(exchanged, text)


def crop_image(data: bytes) -> bytes:
    """The middle of an image: half of its width and height, as PNG."""
    image = load_rgb(data)
    w, h = image.size
    box = (w // 4, h // 4, max(w - w // 4, w // 4 + 1), max(h - h // 4, h // 4 + 1))
    return _png(image.crop(box))


def corrupt_image(data: bytes, rng: np.random.Generator) -> bytes:
    """The image with Gaussian noise, as PNG."""
    pixels = np.asarray(load_rgb(data), np.float32)
    noisy = pixels + _NOISE * rng.normal(size=pixels.shape).astype(np.float32)
    return _png(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))


def cut_audio(data: bytes) -> bytes:
    """The first half of a recording, as WAV."""
    samples = load_mono(data, _RATE, _MOST_SECONDS)
    return _wav(samples[: max(1, len(samples) // 2)])


def corrupt_audio(data: bytes, rng: np.random.Generator) -> bytes:
    """The recording with white noise 10 dB below it, as WAV."""
    samples = load_mono(data, _RATE, _MOST_SECONDS)
    level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-_DECIBELS / 20)
    return _wav(samples + level * rng.normal(size=len(samples)).astype(np.float32))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), _RATE, format="WAV")
    return file.getvalue()
