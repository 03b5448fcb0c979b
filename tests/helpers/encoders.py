"""Encoders small enough to see through, some of which break on purpose."""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from embedders.encoder import unit_rows
from store.errors import RecordError

DIM = 8


class Hashing:
    """Text to eight numbers drawn from its hash, whatever the batch."""

    name = "hashing"
    version = "1"
    modality = "text"
    dim = DIM
    fingerprint = "hashing@1"

    def prepare(self, raw: Any) -> str:
        if raw == "unreadable":
            raise RecordError("text.test", "refused")
        return raw

    def encode(self, batch: list[str]) -> np.ndarray:
        digests = [hashlib.blake2b(text.encode(), digest_size=DIM).digest() for text in batch]
        return unit_rows(np.array([list(d) for d in digests], np.float32) + 1)


class Poisoned(Hashing):
    """Breaks on texts that say how."""

    def prepare(self, raw: Any) -> str:
        if raw == "kill while preparing":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(raw)

    def encode(self, batch: list[str]) -> np.ndarray:
        if "raise" in batch:
            raise ValueError("poison")
        if "kill" in batch:
            os.kill(os.getpid(), signal.SIGKILL)
        vectors = super().encode(batch)
        vectors[[text == "nan" for text in batch]] = np.nan
        return vectors


class Slow(Hashing):
    """Leaves its process id in the file that the text names, and takes its time."""

    def encode(self, batch: list[str]) -> np.ndarray:
        Path(batch[0].partition("@")[2]).write_text(str(os.getpid()))
        time.sleep(0.4)
        return super().encode(batch)


class Narrow(Hashing):
    """Says eight dimensions and gives four."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return super().encode(batch)[:, :4]


class Greedy(Hashing):
    """Runs out of memory beyond a hundred at a time."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, batch: list[str]) -> np.ndarray:
        self.batches.append(len(batch))
        if len(batch) > 100:
            raise MemoryError
        return super().encode(batch)


def broken() -> Hashing:
    raise RuntimeError("no weights here")


class Named(Hashing):
    """Takes a name and an option, as an encoder that a package enters does."""

    def __init__(self, name: str, shift: str = "0"):
        self.shift = int(shift)


class Sized(Hashing):
    """A text costs a tenth of its length; remembers what it was given together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def cost(self, prepared: str) -> float:
        return len(prepared) / 10

    def encode(self, batch: list[str]) -> np.ndarray:
        self.batches.append(batch)
        return super().encode(batch)


class Costless(Hashing):
    """Some inputs cost nothing that can be added up."""

    def cost(self, prepared: str) -> float:
        return {"nothing": 0.0, "nan": np.nan}.get(prepared, 1.0)


class Spoilt(Hashing):
    """One bad text turns a whole batch into NaN, as normalising over a batch does."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return super().encode(batch) * (np.nan if "nan" in batch else 1)


class Asserting(Hashing):
    """Fails as CUDA does: after a bad text, whatever comes next in this process fails too."""

    broken = False

    def encode(self, batch: list[str]) -> np.ndarray:
        Asserting.broken |= "assert" in batch
        if Asserting.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().encode(batch)


class Unscaled(Hashing):
    """Vectors twice as long as they should be."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return 2 * super().encode(batch)
