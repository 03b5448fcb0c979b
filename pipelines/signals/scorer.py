"""The kinds of scorers: named functions that measure parts of samples and give signal columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

Columns = Mapping[str, pa.Array]  # by column name; as many rows as the batch
Values = Mapping[str, Any]  # of one part, by column name


@dataclass(frozen=True)
class Scorer:
    """What all scorers have in common. Versions and types are in `store.tables.signals`.

    Attributes:
        name: in run keys, in the column `scorers` of a row, and in the ledger, as `signals.NAME`.
        gives: the columns of `schema.SIGNALS` that it fills.
        reads: the columns of `samples` that it needs.
    """

    name: str
    gives: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass(frozen=True)
class BatchScorer(Scorer):
    """Measures a batch of rows at once, from columns of `samples`.

    Attributes:
        score: takes a batch with the columns `reads`; returns the columns `gives`.
    """

    score: Callable[[pa.RecordBatch], Columns]


class DecodedImage:
    """A decoded image, reduced to the size at which pixels are measured.

    Attributes:
        data: the encoded file.
        rgb: the image, upright, 8 bits per channel.
        animated: whether the file has more frames than this first one.
        luma: uint8 (height, width), ITU-R BT.601.
    """

    def __init__(self, rgb: Image.Image, animated: bool, data: bytes = b""):
        self.data = data
        self.rgb = rgb
        self.animated = animated
        self.luma = np.asarray(rgb.convert("L"))


@dataclass(frozen=True)
class ImageScorer(Scorer):
    """Measures one decoded image. Each image is decoded once for all scorers of this kind.

    Attributes:
        score: takes the image; returns a value for each of `gives`.
    """

    score: Callable[[DecodedImage], Values]


class AudioMeter(Protocol):
    """Measures one recording, block by block as it is decoded.

    Its memory must not grow with the length of a block.
    """

    def add(self, block: np.ndarray) -> None:
        """Measure the next block, float32 (frames, channels) with full scale at 1."""

    def result(self) -> Values:
        """The values of the whole recording; called once, after the last block."""


@dataclass(frozen=True)
class AudioScorer(Scorer):
    """Measures recordings. Each recording is decoded once for all scorers of this kind.

    Attributes:
        start: takes the sample rate in Hz and the number of channels; returns a new meter.
    """

    start: Callable[[int, int], AudioMeter]
