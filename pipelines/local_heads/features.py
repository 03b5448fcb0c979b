"""What the frozen encoders make of drawings, worked out once and kept in files."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from embedders.local.audio import LocalAudio
from embedders.local.image import LocalImage
from embedders.local.text import LocalText
from pipelines.local_heads.captioned_drawings import READERS, Drawing, Say
from pipelines.local_heads.holdout import picture_hash
from store.errors import RecordError

_BATCH = 16


class Features(NamedTuple):
    """Of n drawings: `keys`, `captions`, `kinds` (n,) of str; `hashes` (n, 256) bool; float32
    `caption` and `more` (n, 384) by MiniLM, `meaning` (n, 384) by ConSE, `seen` (n, 3552) what the
    image head takes, `heard` (n, 1752) what the audio head takes, NaN where there is no sound."""

    keys: np.ndarray
    captions: np.ndarray
    kinds: np.ndarray
    hashes: np.ndarray
    caption: np.ndarray
    more: np.ndarray
    meaning: np.ndarray
    seen: np.ndarray
    heard: np.ndarray

    def where(self, kept: np.ndarray) -> "Features":
        return Features(*(column[kept] for column in self))


def features(name: str, cache: Path, say: Say) -> Features:
    """Of the drawings that `name` stands for (stamps, openmoji, openclipart)."""
    file = cache / f"{name}.npz"
    if not file.exists():
        batches = list(_computed(name, cache, say))
        whole = [np.concatenate(columns) for columns in zip(*batches, strict=True)]
        columns = dict(zip(Features._fields, whole, strict=True))
        with file.open("wb") as out:
            np.savez(out, allow_pickle=False, **columns)
    with np.load(file) as kept:
        return Features(*(kept[field] for field in Features._fields))


def _computed(name: str, cache: Path, say: Say) -> Iterator[tuple[np.ndarray, ...]]:
    text, image, audio = LocalText(), LocalImage(), LocalAudio()
    total = 0
    for batch in _batches(READERS[name](cache, say)):
        inputs = [image.prepare(drawing.picture) for drawing in batch]
        found = image.features(inputs)
        heard = np.full((len(batch), audio.features([_SILENCE]).shape[1]), np.nan, np.float32)
        for row, drawing in enumerate(batch):
            if drawing.sound:
                try:
                    heard[row] = audio.features([audio.prepare(drawing.sound)])[0]
                except RecordError as error:
                    say(f"{drawing.key}: {error}")
        total += len(batch)
        say(f"{total} {name}")
        yield (
            np.array([d.key for d in batch]),
            np.array([d.caption for d in batch]),
            np.array([d.kind for d in batch]),
            np.stack([picture_hash(d.picture) for d in batch]),
            text.features([d.caption for d in batch]),
            text.features([d.more for d in batch]),
            found.meaning,
            found.visual,
            heard,
        )


_SILENCE = np.zeros((1, 224, 224), np.uint8)


def _batches(drawings: Iterator[Drawing]) -> Iterator[list[Drawing]]:
    batch: list[Drawing] = []
    for drawing in drawings:
        batch.append(drawing)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
