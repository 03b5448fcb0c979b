"""What a scorer is: a named function that measures parts of samples, and the columns it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

Columns = Mapping[str, pa.Array]  # as many rows as the batch
Values = Mapping[str, Any]  # of one part


@dataclass(frozen=True)
class Scorer:
    """What all scorers have; versions are listed in `pipelines.stages.run_keys`.

    Args:
        name: in `keys`, in a row's `scorers` and in the ledger, as `signals.NAME`.
        gives: columns of `schema.SIGNALS`.
        reads: columns of `samples`.
    """

    name: str
    gives: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass(frozen=True)
class BatchScorer(Scorer):
    """Measures a batch of rows by its columns, all at once."""

    score: Callable[[pa.RecordBatch], Columns]


class Picture:
    """A decoded picture in the size in which pixels are measured.

    Args:
        rgb: upright, 8 bits; see `pictures.open_picture`.
        animated: whether the file holds more than this first frame.
    """

    def __init__(self, rgb: Image.Image, animated: bool):
        self.rgb = rgb
        self.animated = animated
        self.luma = np.asarray(rgb.convert("L"))


@dataclass(frozen=True)
class PictureScorer(Scorer):
    """Measures one decoded picture; every picture is decoded once for all of them."""

    score: Callable[[Picture], Values]


class Listener(Protocol):
    """Measures a recording as it is decoded, in memory that does not grow with its blocks."""

    def hear(self, block: np.ndarray) -> None:
        """Float32 (frames, channels), full scale at 1."""

    def result(self) -> Values: ...


@dataclass(frozen=True)
class SoundScorer(Scorer):
    """Measures recordings; every one is decoded once for all of them.

    `listen` is called with the sample rate in Hz and the number of channels.
    """

    listen: Callable[[int, int], Listener]
