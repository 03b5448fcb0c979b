"""Features of drawings from the frozen encoders, computed once and kept in files."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from pipelines.local_heads.captioned_drawings import READERS, Drawing, Progress
from pipelines.local_heads.holdout import difference_hash
from store.errors import RecordError

_BATCH = 16


class Features(NamedTuple):
    """The features of n drawings.

    Attributes:
        keys: (n,) str.
        captions: (n,) str.
        kinds: (n,) str, the kind of the recording: sound, speech or empty.
        hashes: (n, 256) bool, see `difference_hash`.
        caption_vectors: (n, 384) float32, captions by MiniLM.
        long_caption_vectors: (n, 384) float32, long captions by MiniLM.
        meaning: (n, 384) float32, images by ConSE.
        image_inputs: (n, 3552) float32, what the image head takes.
        audio_inputs: (n, 1752) float32, what the audio head takes; NaN without a recording.
    """

    keys: np.ndarray
    captions: np.ndarray
    kinds: np.ndarray
    hashes: np.ndarray
    caption_vectors: np.ndarray
    long_caption_vectors: np.ndarray
    meaning: np.ndarray
    image_inputs: np.ndarray
    audio_inputs: np.ndarray

    def where(self, mask: np.ndarray) -> "Features":
        """The features of the drawings where the mask (n,) is True."""
        return Features(*(column[mask] for column in self))

    def has_audio(self) -> np.ndarray:
        """(n,) bool: whether a drawing has a recording that could be read."""
        return np.isfinite(self.audio_inputs).all(axis=1)


def features(name: str, cache: Path, progress: Progress) -> Features:
    """The features of a collection of drawings, from the cache or computed and cached.

    Args:
        name: the collection, a key of READERS.
        cache: the folder of packages and features.
        progress: called with messages.
    """
    file = cache / f"{name}.features.npz"
    if not file.exists():
        batches = zip(*_compute(name, cache, progress), strict=True)
        columns = dict(zip(Features._fields, map(np.concatenate, batches), strict=True))
        with file.open("wb") as out:
            np.savez(out, allow_pickle=False, **columns)
    with np.load(file) as columns:
        return Features(*(columns[field] for field in Features._fields))


def _compute(name: str, cache: Path, progress: Progress) -> Iterator[Features]:
    text, image, audio = LocalText(), LocalImage(), LocalAudio()
    total = 0
    drawings = READERS[name](cache, progress)
    while batch := list(islice(drawings, _BATCH)):
        images = image.features([image.prepare(drawing.image) for drawing in batch])
        total += len(batch)
        progress(f"{total} {name}")
        yield Features(
            np.array([d.key for d in batch]),
            np.array([d.caption for d in batch]),
            np.array([d.kind for d in batch]),
            np.stack([difference_hash(d.image) for d in batch]),
            text.features([d.caption for d in batch]),
            text.features([d.long_caption for d in batch]),
            images.meaning,
            images.visual,
            _audio_inputs(audio, batch, progress),
        )


def _audio_inputs(audio: LocalAudio, batch: list[Drawing], progress: Progress) -> np.ndarray:
    silence = np.zeros((1, 224, 224), np.uint8)
    inputs = np.full((len(batch), audio.features([silence]).shape[1]), np.nan, np.float32)
    for row, drawing in enumerate(batch):
        if drawing.recording:
            try:
                inputs[row] = audio.features([audio.prepare(drawing.recording)])[0]
            except RecordError as error:
                progress(f"{drawing.key}: {error}")
    return inputs
