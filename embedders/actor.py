"""What runs on Ray's workers: reading and preparing on CPUs, encoding where the model is."""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import ray

from embedders.spaces import load
from store.errors import EncoderError, RecordError

Load = Callable[[], list[tuple[str, Any]]]
Failures = list[tuple[str, RecordError]]

FIRST_BATCH = 32
LARGEST_BATCH = 1024


class Prepared(NamedTuple):
    """What `prepare` made of the parts in `ids`, and the parts that it refused."""

    ids: list[str]
    inputs: list[Any]
    failed: Failures

    def cut(self, start: int, stop: int) -> "Prepared":
        return Prepared(self.ids[start:stop], self.inputs[start:stop], [])


class Encoded(NamedTuple):
    """Float32 (len(ids), d), and the parts that have no vector."""

    ids: list[str]
    vectors: np.ndarray
    failed: Failures


def joined(pieces: list[Encoded], dim: int) -> Encoded:
    return Encoded(
        [part for piece in pieces for part in piece.ids],
        np.concatenate([np.empty((0, dim), np.float32), *(piece.vectors for piece in pieces)]),
        [failure for piece in pieces for failure in piece.failed],
    )


# No reservation: the pool bounds how many run, and reserving could wait for its own actors.
@ray.remote(num_cpus=0, max_retries=1, scheduling_strategy="SPREAD")
def prepare(spec: str, read: Load, start: int = 0, stop: int | None = None) -> Prepared:
    """Read a unit and prepare its parts from `start` up to `stop`."""
    encoder = load(spec)
    done = Prepared([], [], [])
    for part, raw in read()[start:stop]:
        try:
            done.inputs.append(encoder.prepare(raw))
            done.ids.append(part)
        except EncoderError:
            raise
        except Exception as error:
            done.failed.append((part, _failure(error)))
    return done


@ray.remote(num_cpus=0, max_retries=1)
def part_ids(read: Load) -> list[str]:
    return [part for part, _ in read()]


class Actor:
    """One process with the model; encodes a unit at a time.

    Args:
        spec: the encoder, as spaces name it.
        batch_size: inputs a forward pass; None doubles from 32 on a GPU until memory runs out.
        num_cpus: threads for torch.
        num_gpus: 0 hides any GPU.
    """

    def __init__(self, spec: str, batch_size: int | None, num_cpus: float, num_gpus: float):
        if not num_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        threads = max(1, int(num_cpus))
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
        self.encoder = load(spec)
        self.batch_size = batch_size or FIRST_BATCH
        self.growing = batch_size is None and num_gpus > 0

    def dim(self) -> int:
        return self.encoder.dim

    def encode(self, unit: Prepared) -> Encoded:
        pieces, start = [], 0
        while start < len(unit.ids):
            batch = unit.cut(start, start + self.batch_size)
            try:
                pieces.append(self._halved(batch))
            except MemoryError:
                self.batch_size, self.growing = max(1, len(batch.ids) // 2), False
                continue
            start += len(batch.ids)
            if self.growing and len(batch.ids) == self.batch_size:
                self.batch_size = min(2 * self.batch_size, LARGEST_BATCH)
        return joined([*pieces, self._none(unit.failed)], self.encoder.dim)

    def _halved(self, batch: Prepared) -> Encoded:
        """Where the encoder raises for a batch, its halves, down to the culprits.

        Raises MemoryError where a batch of more than one does not fit.
        """
        try:
            vectors = np.asarray(self.encoder.encode(batch.inputs), np.float32)
        except EncoderError:
            raise
        except Exception as error:
            if len(batch.ids) == 1:
                return self._none([(batch.ids[0], _failure(error))])
            if _is_out_of_memory(error):
                _free_memory()
                raise MemoryError from error
        else:
            return self._finite(batch.ids, vectors)
        middle = len(batch.ids) // 2
        halves = batch.cut(0, middle), batch.cut(middle, len(batch.ids))
        return joined([self._halved(half) for half in halves], self.encoder.dim)

    def _finite(self, ids: list[str], vectors: np.ndarray) -> Encoded:
        expected = (len(ids), self.encoder.dim)
        if vectors.shape != expected:
            raise EncoderError(f"{self.encoder.name} gave {vectors.shape}, not {expected}")
        finite = np.isfinite(vectors).all(axis=1)
        nan = RecordError("encoder.nan", "its vector is not finite")
        return Encoded(
            [part for part, good in zip(ids, finite, strict=True) if good],
            vectors[finite],
            [(part, nan) for part, good in zip(ids, finite, strict=True) if not good],
        )

    def _none(self, failed: Failures) -> Encoded:
        return Encoded([], np.empty((0, self.encoder.dim), np.float32), failed)


def _failure(error: Exception) -> RecordError:
    if isinstance(error, RecordError):
        return error
    return RecordError("encoder.error", f"{type(error).__name__}: {error}"[:300])


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _free_memory() -> None:
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()  # does nothing where no GPU was used
