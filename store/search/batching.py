"""Encodes the inputs of concurrent queries in one batch.

A model encodes a batch faster than its members one after another. Nothing waits on purpose: while
a batch is encoded, the inputs of other queries gather, and they are the next batch.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from store.errors import InputError
from store.search.opened import Encode

MAX_BATCH = 64  # inputs


class _Call:
    """The inputs of one caller, and their vectors or the error once they are encoded."""

    def __init__(self, space: tuple[str, Any, Any], inputs: Mapping[str, Sequence[Any]]):
        self.space = space
        self.inputs = inputs
        self.vectors: Mapping[str, np.ndarray] | None = None
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.vectors is not None or self.error is not None

    @property
    def size(self) -> int:
        return sum(map(len, self.inputs.values()))


class BatchedEncode:
    """An `Encode` that joins the calls of several threads. Thread-safe.

    Args:
        encode: encodes a batch.
        count: is called with the number of inputs of each batch.

    Attributes:
        batches: how many batches were encoded.
        inputs: how many inputs they had.
    """

    def __init__(self, encode: Encode, count: Callable[[int], None] | None = None):
        self._encode = encode
        self._count = count or (lambda _: None)
        self._waiting: list[_Call] = []
        self._lock = threading.Lock()
        self._encoding = threading.Lock()  # one batch at a time: a model uses all cores
        self.batches = 0
        self.inputs = 0

    def __call__(
        self,
        space_name: str,
        space_config: Mapping[str, Any],
        fingerprints: Mapping[str, str],
        inputs: Mapping[str, Sequence[Any]],
    ) -> Mapping[str, np.ndarray]:
        """Encode inputs. Arguments, result and errors are those of `Encode`."""
        call = _Call((space_name, space_config, fingerprints), inputs)
        with self._lock:
            self._waiting.append(call)
        while not call.done:
            # Whoever has the lock encodes what has gathered, its own call or those of others.
            with self._encoding:
                if not call.done:
                    self._encode_batch(self._next_batch())
        if call.error is not None:
            raise call.error
        assert call.vectors is not None
        return call.vectors

    def _next_batch(self) -> list[_Call]:
        """The oldest waiting calls of one space, up to `MAX_BATCH` inputs."""
        with self._lock:
            first = self._waiting[0]
            batch: list[_Call] = []
            size = 0
            for call in list(self._waiting):
                if batch and (call.space != first.space or size + call.size > MAX_BATCH):
                    break
                self._waiting.remove(call)
                batch.append(call)
                size += call.size
        return batch

    def _encode_batch(self, batch: list[_Call]) -> None:
        self.batches += 1
        size = sum(call.size for call in batch)
        self.inputs += size
        self._count(size)
        modalities = dict.fromkeys(m for call in batch for m in call.inputs)
        joined = {m: [v for call in batch for v in call.inputs.get(m, ())] for m in modalities}
        try:
            vectors = self._encode(*batch[0].space, joined)
        except InputError as error:
            if len(batch) == 1:
                batch[0].error = error
            else:  # one bad input must not fail the other queries
                for call in batch:
                    self._encode_batch([call])
            return
        except BaseException as error:
            for call in batch:
                call.error = error
            return
        starts = dict.fromkeys(modalities, 0)
        for call in batch:
            own = {}
            for modality, values in call.inputs.items():
                start = starts[modality]
                own[modality] = vectors[modality][start : start + len(values)]
                starts[modality] = start + len(values)
            call.vectors = own
