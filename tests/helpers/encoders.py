"""Small encoders for tests of the pool and the registry. Some of them fail on purpose."""

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
    """Encodes a text as eight numbers from its hash. The batch makes no difference."""

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
    """Fails on certain texts: raises an error, kills its process, or returns NaN."""

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


class Threads(Hashing):
    """Encodes a text as the number of threads that torch uses."""

    def encode(self, batch: list[str]) -> np.ndarray:
        import torch

        return np.full((len(batch), DIM), torch.get_num_threads(), np.float32)


class Slow(Hashing):
    """Takes 0.4 s for a batch. Writes its process id to the file that the text names after @."""

    def encode(self, batch: list[str]) -> np.ndarray:
        Path(batch[0].partition("@")[2]).write_text(str(os.getpid()))
        time.sleep(0.4)
        return super().encode(batch)


class Narrow(Hashing):
    """Declares eight dimensions and returns four."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return super().encode(batch)[:, :4]


class Greedy(Hashing):
    """Runs out of memory in a batch of more than a hundred. Records the batch sizes."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def encode(self, batch: list[str]) -> np.ndarray:
        self.batches.append(len(batch))
        if len(batch) > 100:
            raise MemoryError
        return super().encode(batch)


def broken() -> Hashing:
    """A factory that fails."""
    raise RuntimeError("no weights here")


class Named(Hashing):
    """Takes a name and an option, as the encoder of another package does."""

    def __init__(self, name: str, shift: str = "0"):
        self.shift = int(shift)


class Sized(Hashing):
    """A text costs a tenth of its length. Records the batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def cost(self, prepared: str) -> float:
        return len(prepared) / 10

    def encode(self, batch: list[str]) -> np.ndarray:
        self.batches.append(batch)
        return super().encode(batch)


class Costless(Hashing):
    """Some inputs have a cost that is not a positive number."""

    def cost(self, prepared: str) -> float:
        return {"nothing": 0.0, "nan": np.nan}.get(prepared, 1.0)


class Spoilt(Hashing):
    """One bad text turns its whole batch into NaN, as normalising over a batch would."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return super().encode(batch) * (np.nan if "nan" in batch else 1)


class Asserting(Hashing):
    """Fails as CUDA does: after a bad text, every later call in the process fails too."""

    broken = False

    def encode(self, batch: list[str]) -> np.ndarray:
        Asserting.broken |= "assert" in batch
        if Asserting.broken:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().encode(batch)


class Unscaled(Hashing):
    """Returns vectors of length two instead of one."""

    def encode(self, batch: list[str]) -> np.ndarray:
        return 2 * super().encode(batch)
