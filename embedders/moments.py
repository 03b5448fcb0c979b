"""Moments: an encoder's vectors of the windows of a recording, or of the tiles of an image.

The option `moments` of a spec makes it an encoder whose rows are the packed moments of its inputs
(`store.tables.moments.pack`), so that the pool and the staging handle them as vectors. Its value is
`seconds,step,most` for recordings and `tiles,overlap` for images (`store.config.moments`).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from embedders.encoder import Encoder, cost_of
from embedders.media.cut import Span, tiles, windows
from store.errors import EncoderError
from store.tables import moments
from store.tables.moments import Moments

_BATCH = 32  # moments that are encoded at once


class PreparedMoments(NamedTuple):
    """The moments of one part: prepared inputs of the encoder, and spans (t, 4)."""

    inputs: list[Any]
    spans: np.ndarray


class MomentEncoder:
    """Encodes the moments of recordings or images. A part with one bad moment fails as a whole.

    Args:
        encoder: of images or recordings.
        option: how they are cut.

    Raises:
        EncoderError: the encoder is of texts, or the option cannot be read.
    """

    def __init__(self, encoder: Encoder, option: str):
        if encoder.modality not in moments.MODALITIES:
            raise EncoderError(
                f"{encoder.name} encodes {encoder.modality}, which has no moments; allowed:"
                f" {', '.join(moments.MODALITIES)}"
            )
        try:
            self.settings = tuple(float(number) for number in option.split(","))
        except ValueError:
            self.settings = ()
        if len(self.settings) != (3 if encoder.modality == "audio" else 2):
            raise EncoderError(
                f"{moments.OPTION}={option}: expected seconds,step,most for audio, and"
                " tiles,overlap for images"
            )
        self.encoder = encoder
        self.option = option
        self.name = encoder.name
        self.version = encoder.version
        self.modality = encoder.modality

    @property
    def most(self) -> int:
        """The largest number of moments of a part."""
        return int(self.settings[2] if self.modality == "audio" else self.settings[0] ** 2)

    @property
    def dim(self) -> int:
        return self.most * (self.encoder.dim + moments.NUMBERS)

    @property
    def fingerprint(self) -> str:
        return moments.fingerprint(self.encoder.fingerprint, self.option)

    def prepare(self, raw: bytes) -> PreparedMoments:
        """Cut a part and prepare its moments.

        Raises:
            RecordError: the rules of `embedders.media.cut`, and those of the encoder.
        """
        if self.modality == "audio":
            seconds, step, most = self.settings
            cut: Iterator[tuple[Any, Span]] = windows(raw, seconds, step, int(most))
        else:
            count, overlap = self.settings
            cut = tiles(raw, int(count), overlap)
        prepared = [(self.encoder.prepare(moment), span) for moment, span in cut]
        inputs, spans = zip(*prepared, strict=True)
        return PreparedMoments(list(inputs), np.array(spans, np.float32))

    def cost(self, prepared: PreparedMoments) -> float:
        return sum(cost_of(self.encoder, each) for each in prepared.inputs)

    def encode(self, batch: list[PreparedMoments]) -> np.ndarray:
        """Packed moments, float32 (n, dim): not of unit length."""
        inputs = [each for part in batch for each in part.inputs]
        starts = range(0, len(inputs), _BATCH)
        vectors = [self.encoder.encode(inputs[start : start + _BATCH]) for start in starts]
        lengths = np.array([len(part.inputs) for part in batch])
        spans = np.concatenate([part.spans for part in batch])
        return moments.pack(Moments(np.concatenate(vectors), spans, lengths), self.most)
