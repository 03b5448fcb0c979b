"""What runs on Ray's workers: reading and preparing on CPUs, encoding where the model is."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import ray

from embedders.encoder import cost_of
from embedders.registry import load
from store.errors import EncoderError, RecordError
from store.isolate import isolate_failures

Load = Callable[[], list[tuple[str, Any]]]
Failures = list[tuple[str, RecordError]]

FIRST_BATCH = 32
LARGEST_BATCH = 1024


class Prepared(NamedTuple):
    """What `prepare` made of the parts in `ids`: inputs, and what each costs, float64 (n,)."""

    ids: list[str]
    inputs: list[Any]
    costs: np.ndarray


class Summary(NamedTuple):
    """How many parts were prepared, the bytes that they take, and the parts that were refused."""

    size: int
    nbytes: int
    failed: Failures


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


def without_vectors(failed: Failures, dim: int) -> Encoded:
    return Encoded([], np.empty((0, dim), np.float32), failed)


# No reservation: the pool bounds how many run, and reserving could wait for its own actors.
@ray.remote(num_cpus=0, max_retries=1, num_returns=2, scheduling_strategy="SPREAD")
def prepare(
    spec: str, read: Load, start: int = 0, stop: int | None = None
) -> tuple[Prepared, Summary]:
    """Read a unit and prepare its parts from `start` up to `stop`."""
    encoder = load(spec)
    ids: list[str] = []
    inputs: list[Any] = []
    costs: list[float] = []
    failed: Failures = []
    for part, raw in read()[start:stop]:
        try:
            made = encoder.prepare(raw)
            costs.append(cost_of(encoder, made))
        except EncoderError:
            raise
        except Exception as error:
            failed.append((part, _failure(error)))
        else:
            ids.append(part)
            inputs.append(made)
    prepared = Prepared(ids, inputs, np.array(costs))
    return prepared, Summary(len(ids), _bytes(inputs), failed)


@ray.remote(num_cpus=0, max_retries=1)
def part_ids(read: Load) -> list[str]:
    return [part for part, _ in read()]


class _BatchTooLarge(Exception):
    """A batch of more than one input does not fit into the device's memory."""


class Actor:
    """One process with the model; encodes a unit at a time.

    Args:
        spec: the encoder, as spaces name it.
        batch_size: what a forward pass may cost, in ordinary inputs (see `Encoder`): the inputs'
            number times the largest one's cost. None doubles from 32 on a GPU until memory runs
            out.
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
        self.budget = float(batch_size or FIRST_BATCH)
        self.growing = batch_size is None and num_gpus > 0

    def dim(self) -> int:
        return self.encoder.dim

    def encode(self, prepared: Prepared, start: int = 0, stop: int | None = None) -> Encoded:
        """Encode the inputs from `start` up to `stop`; small ones come first."""
        costs = prepared.costs[start:stop]
        left = start + np.argsort(costs, kind="stable")
        pieces = []
        while len(left):
            batch = left[: self._fitting(prepared.costs[left])]
            try:
                pieces.append(self._encode_batch(prepared, batch))
            except _BatchTooLarge:
                padded = len(batch) * prepared.costs[batch[-1]]
                self.budget, self.growing = padded / 2, False
                continue
            left = left[len(batch) :]
            if self.growing and len(left):
                self.budget = min(2 * self.budget, LARGEST_BATCH)
        return joined(pieces, self.encoder.dim)

    def _fitting(self, costs: np.ndarray) -> int:
        """How many of the inputs, by rising cost, fit the budget once they are padded."""
        padded = np.arange(1, len(costs) + 1) * costs
        return max(1, int(np.searchsorted(padded, self.budget, side="right")))

    def _encode_batch(self, prepared: Prepared, batch: np.ndarray) -> Encoded:
        """Encode the inputs at the indices `batch`; inputs that fail alone are in `failed`.

        Raises:
            _BatchTooLarge: the batch does not fit into memory; it has more than one input.
        """

        def encode(start: int, stop: int) -> Encoded:
            return self._forward(prepared, batch[start:stop])

        pieces = []
        for start, encoded in isolate_failures(len(batch), encode, (EncoderError, _BatchTooLarge)):
            if isinstance(encoded, Exception):
                failed = [(prepared.ids[batch[start]], _failure(encoded))]
                encoded = without_vectors(failed, self.encoder.dim)
            pieces.append(encoded)
        return joined(pieces, self.encoder.dim)

    def _forward(self, prepared: Prepared, batch: np.ndarray) -> Encoded:
        """One forward pass. Raises whatever the encoder raises, and _BatchTooLarge."""
        ids = [prepared.ids[index] for index in batch]
        inputs = [prepared.inputs[index] for index in batch]
        try:
            encoded = self._finite(ids, np.asarray(self.encoder.encode(inputs), np.float32))
        except EncoderError:
            raise
        except Exception as error:
            _die_of_broken_device(error)
            if len(ids) > 1 and _is_out_of_memory(error):
                _free_memory()
                raise _BatchTooLarge from error
            raise
        if not encoded.ids and len(ids) > 1:  # one bad input may have spoilt the others
            raise FloatingPointError("no vector of the batch is finite")
        return encoded

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


def _failure(error: Exception) -> RecordError:
    if isinstance(error, RecordError):
        return error
    return RecordError("encoder.error", f"{type(error).__name__}: {error}"[:300])


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _free_memory() -> None:
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()  # does nothing where no GPU was used


def _die_of_broken_device(error: Exception) -> None:
    """End this process where CUDA will refuse whatever comes next, as after a failed assertion:
    the pool redoes the work elsewhere, and finds the part that did it."""
    if _is_out_of_memory(error):
        return
    if type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error"):
        os.kill(os.getpid(), signal.SIGKILL)


def _bytes(value: Any) -> int:
    """What an input takes, roughly: arrays and tensors count by their content."""
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return int(getattr(value, "nbytes", 0)) or sys.getsizeof(value)
