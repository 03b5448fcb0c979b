"""The code that runs in other processes: functions that read and prepare, an actor that encodes."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from embedders.encoder import cost_of
from embedders.registry import load_encoder
from store.cores import core_count
from store.errors import EncoderError, RecordError
from store.isolate import isolate_failures

ReadUnit = Callable[[], list[tuple[str, Any]]]
Failures = list[tuple[str, RecordError]]

FIRST_BATCH = 32
LARGEST_BATCH = 1024


class Prepared(NamedTuple):
    """Parts that are ready to be encoded.

    Attributes:
        ids: of the parts.
        inputs: what the encoder's `prepare` returned for each.
        costs: float64 (n,), the cost of each input.
    """

    ids: list[str]
    inputs: list[Any]
    costs: np.ndarray


class Summary(NamedTuple):
    """The size of a `Prepared`, without its inputs.

    Attributes:
        size: the number of prepared parts.
        nbytes: the bytes that their inputs take.
        failed: the parts that `prepare` refused, with the error of each.
    """

    size: int
    nbytes: int
    failed: Failures


class Encoded(NamedTuple):
    """Parts with their vectors, and parts that have none.

    Attributes:
        ids: of the parts that have a vector.
        vectors: float32 (len(ids), d).
        failed: the parts that have none, with the error of each.
    """

    ids: list[str]
    vectors: np.ndarray
    failed: Failures


@dataclass(frozen=True)
class UnitResult:
    """The result of one unit.

    Attributes:
        name: of the unit.
        ids: the parts that have a vector.
        vectors: float32 (len(ids), d).
        failed: the parts that have none, with the error of each.
    """

    name: str
    ids: list[str]
    vectors: np.ndarray
    failed: Failures


def concatenate(results: list[Encoded], dim: int) -> Encoded:
    """All results as one, in their order; `dim` is the width of an empty one."""
    return Encoded(
        [part for result in results for part in result.ids],
        np.concatenate([np.empty((0, dim), np.float32), *(result.vectors for result in results)]),
        [failure for result in results for failure in result.failed],
    )


def failures_only(failed: Failures, dim: int) -> Encoded:
    """A result without any vector."""
    return Encoded([], np.empty((0, dim), np.float32), failed)


def prepare(
    spec: str, read: ReadUnit, start: int = 0, stop: int | None = None
) -> tuple[Prepared, Summary]:
    """Read a unit and prepare its parts from `start` up to `stop` for the encoder `spec`."""
    encoder = load_encoder(spec)
    ids: list[str] = []
    inputs: list[Any] = []
    costs: list[float] = []
    failed: Failures = []
    for part, raw in read()[start:stop]:
        try:
            prepared = encoder.prepare(raw)
            costs.append(cost_of(encoder, prepared))
        except EncoderError:
            raise
        except Exception as error:
            failed.append((part, _as_record_error(error)))
        else:
            ids.append(part)
            inputs.append(prepared)
    return Prepared(ids, inputs, np.array(costs)), Summary(len(ids), _nbytes(inputs), failed)


def part_ids(read: ReadUnit) -> list[str]:
    """The ids of a unit's parts."""
    return [part for part, _ in read()]


class _BatchTooLarge(Exception):
    """A batch of more than one input does not fit into the device's memory."""


class EncoderActor:
    """One process that holds the encoder's model and encodes one unit at a time.

    Args:
        spec: the encoder's spec (see `embedders.registry`).
        batch_size: the budget of a forward pass, in ordinary inputs (see
            `embedders.encoder.Encoder`): the number of inputs times the cost of the largest one.
            None starts at 32, and on a GPU doubles it until memory runs out.
        threads: that torch uses, at most as many as this process may use CPUs.
        num_gpus: 0 hides any GPU from the process.
    """

    def __init__(self, spec: str, batch_size: int | None, threads: int, num_gpus: float):
        if not num_gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        threads = min(threads, core_count())
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it when it is imported
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
        self.encoder = load_encoder(spec)
        self.budget = float(batch_size or FIRST_BATCH)
        self.growing = batch_size is None and num_gpus > 0

    def dim(self) -> int:
        return self.encoder.dim

    def encode(self, prepared: Prepared, start: int = 0, stop: int | None = None) -> Encoded:
        """Encode the inputs from `start` up to `stop`, in batches of rising cost.

        A batch that does not fit into memory is cut to half its cost, and so are all later ones.
        """
        costs = prepared.costs[start:stop]
        pending = start + np.argsort(costs, kind="stable")
        results = []
        while len(pending):
            batch = pending[: self._batch_length(prepared.costs[pending])]
            try:
                results.append(self._encode_batch(prepared, batch))
            except _BatchTooLarge:
                padded_cost = len(batch) * prepared.costs[batch[-1]]
                self.budget, self.growing = padded_cost / 2, False
                continue
            pending = pending[len(batch) :]
            if self.growing and len(pending):
                self.budget = min(2 * self.budget, LARGEST_BATCH)
        return concatenate(results, self.encoder.dim)

    def _batch_length(self, costs: np.ndarray) -> int:
        """How many inputs, in order of rising cost, fit the budget once they are padded."""
        padded_costs = np.arange(1, len(costs) + 1) * costs
        return max(1, int(np.searchsorted(padded_costs, self.budget, side="right")))

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
                failed = [(prepared.ids[batch[start]], _as_record_error(encoded))]
                encoded = failures_only(failed, self.encoder.dim)
            pieces.append(encoded)
        return concatenate(pieces, self.encoder.dim)

    def _forward(self, prepared: Prepared, batch: np.ndarray) -> Encoded:
        """One forward pass. Raises whatever the encoder raises, and _BatchTooLarge."""
        ids = [prepared.ids[index] for index in batch]
        inputs = [prepared.inputs[index] for index in batch]
        try:
            encoded = self._separate_nan(ids, np.asarray(self.encoder.encode(inputs), np.float32))
        except EncoderError:
            raise
        except Exception as error:
            _exit_if_device_is_broken(error)
            if len(ids) > 1 and _is_out_of_memory(error):
                _free_memory()
                raise _BatchTooLarge from error
            raise
        if not encoded.ids and len(ids) > 1:  # one bad input may have spoilt the others
            raise FloatingPointError("no vector of the batch is finite")
        return encoded

    def _separate_nan(self, ids: list[str], vectors: np.ndarray) -> Encoded:
        """Check the shape of an encoder's output and fail the parts whose vector is not finite."""
        expected = (len(ids), self.encoder.dim)
        if vectors.shape != expected:
            raise EncoderError(
                f"encoder {self.encoder.name} returned an array of shape {vectors.shape},"
                f" not {expected}"
            )
        finite = np.isfinite(vectors).all(axis=1)
        nan = RecordError("encoder.nan", "its vector is not finite")
        return Encoded(
            [part for part, is_finite in zip(ids, finite, strict=True) if is_finite],
            vectors[finite],
            [(part, nan) for part, is_finite in zip(ids, finite, strict=True) if not is_finite],
        )


def _as_record_error(error: Exception) -> RecordError:
    if isinstance(error, RecordError):
        return error
    return RecordError("encoder.error", f"{type(error).__name__}: {error}"[:300])


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _free_memory() -> None:
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()  # does nothing where no GPU was used


def _exit_if_device_is_broken(error: Exception) -> None:
    """Kill this process if CUDA will refuse all further work, as after a failed assertion.

    The pool then redoes the unit on a new actor and finds the part that caused it.
    """
    if _is_out_of_memory(error):
        return
    if type(error).__name__ == "AcceleratorError" or str(error).startswith("CUDA error"):
        os.kill(os.getpid(), signal.SIGKILL)


def _nbytes(value: Any) -> int:
    """The approximate size of an input; of arrays and tensors, only the content counts."""
    if isinstance(value, dict):
        return sum(map(_nbytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_nbytes, value))
    return int(getattr(value, "nbytes", 0)) or sys.getsizeof(value)
