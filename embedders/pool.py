"""A pool of Ray actors that run one encoder.

Reading and preparing run in CPU tasks ahead of the actors, a bounded number of units at a time.
An actor loads its model once. A unit whose actor dies is redone once, on the actor's successor;
if that dies too, the unit is halved until the part that kills is alone, and that one fails.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError

from embedders.cluster import cluster, require
from embedders.spaces import load
from store.errors import RecordError

Load = Callable[[], list[tuple[str, Any]]]
Failures = list[tuple[str, RecordError]]
Prepared = tuple[list[str], list[Any], Failures]

DEFAULT_BATCH = 32
_AHEAD = 2  # units prepared beyond those that the actors are busy with


@dataclass(frozen=True)
class UnitResult:
    """A unit's vectors (n, d) float32 by part id, and the parts that have none."""

    name: str
    ids: list[str]
    vectors: np.ndarray
    failed: Failures


class Pool:
    """Actors of one encoder, for the length of a `with` block.

    Args:
        spec: the encoder, as spaces name it.
        actors: how many; each reserves `num_cpus` and `num_gpus` and runs that many threads.
        batch_size: parts a forward pass; halved by itself where memory runs out.
        address: of a Ray cluster; see `cluster`.
    """

    def __init__(
        self,
        spec: str,
        *,
        actors: int = 1,
        num_cpus: float = 1,
        num_gpus: float = 0,
        batch_size: int | None = None,
        address: str | None = None,
    ):
        self.spec = spec
        self.size = actors
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.batch_size = batch_size or DEFAULT_BATCH
        self._cluster = cluster(address)
        self.actors: list[Any] = []

    def __enter__(self) -> "Pool":
        self._cluster.__enter__()
        try:
            require(self.num_cpus, self.num_gpus)
            self.actors = [self._start() for _ in range(self.size)]
        except BaseException:
            self._cluster.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        for actor in self.actors:
            ray.kill(actor)
        self._cluster.__exit__(None, None, None)

    def _start(self) -> Any:
        options = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "max_restarts": -1}
        return _Actor.options(**options).remote(self.spec, self.batch_size, self.num_cpus)

    def map(self, units: Iterable[tuple[str, Load]]) -> Iterator[UnitResult]:
        """Encode units of parts; results come in the order in which they are ready.

        `load` runs in a CPU task and returns (part id, content) pairs; it must be picklable.
        """
        waiting = iter(units)
        prepared: deque[tuple[str, Any]] = deque()
        idle = deque(self.actors)
        busy: dict[Any, tuple[str, Any, Any]] = {}
        exhausted = False
        while True:
            while not exhausted and len(prepared) < _AHEAD + len(idle):
                unit = next(waiting, None)
                if unit is None:
                    exhausted = True
                    break
                prepared.append((unit[0], _prepare.remote(self.spec, unit[1])))
            while idle and prepared:
                name, content = prepared.popleft()
                actor = idle.popleft()
                busy[actor.encode.remote(content)] = (name, content, actor)
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1)
            name, content, actor = busy.pop(ready[0])
            yield self._result(name, content, actor, ready[0])
            idle.append(actor)

    def _result(self, name: str, content: Any, actor: Any, reply: Any) -> UnitResult:
        try:
            ids, vectors, failed = ray.get(reply)
        except RayActorError:
            ids, vectors, failed = _isolate(actor, ray.get(content))
        return UnitResult(name, ids, vectors, failed)


def _isolate(actor: Any, prepared: Prepared, again: bool = True) -> tuple:
    """Redo a unit that killed its actor; halve it for as long as it keeps killing."""
    ids, inputs, failed = prepared
    try:
        return ray.get(actor.encode.remote(prepared))
    except RayActorError:
        if again and len(ids) > 1:
            return _isolate(actor, prepared, again=False)
    if len(ids) == 1:
        error = RecordError("encoder.crash", "the encoder's process died of it, twice")
        return [], np.empty((0, 0), np.float32), [*failed, (ids[0], error)]
    half = len(ids) // 2
    first = _isolate(actor, (ids[:half], inputs[:half], failed), again=False)
    second = _isolate(actor, (ids[half:], inputs[half:], []), again=False)
    return first[0] + second[0], _stack([first[1], second[1]]), first[2] + second[2]


@ray.remote(num_cpus=0.1, max_retries=2)
def _prepare(spec: str, read: Load) -> Prepared:
    """Read a unit and prepare its parts; those that cannot be prepared are set aside."""
    encoder = load(spec)
    ids: list[str] = []
    inputs: list[Any] = []
    failed: Failures = []
    for part, raw in read():
        try:
            inputs.append(encoder.prepare(raw))
            ids.append(part)
        except RecordError as error:
            failed.append((part, error))
        except Exception as error:
            failed.append((part, RecordError("encoder.error", _said(error))))
    return ids, inputs, failed


@ray.remote
class _Actor:
    def __init__(self, spec: str, batch_size: int, threads: float):
        try:
            import torch

            torch.set_num_threads(max(1, round(threads)))
        except ImportError:
            pass
        self.encoder = load(spec)
        self.batch_size = batch_size

    def encode(self, prepared: Prepared) -> tuple[list[str], np.ndarray, Failures]:
        ids, inputs, failed = prepared
        kept: list[str] = []
        found: list[np.ndarray] = []
        failed = list(failed)
        start = 0
        while start < len(ids):
            stop = start + self.batch_size
            try:
                good, vectors, bad = self._batch(ids[start:stop], inputs[start:stop])
            except MemoryError:
                self.batch_size //= 2
                continue
            kept += good
            found.append(vectors)
            failed += bad
            start = stop
        return kept, _stack(found), failed

    def _batch(self, ids: list[str], inputs: list[Any]) -> tuple[list[str], np.ndarray, Failures]:
        """Vectors of a batch; where the encoder raises, of its halves, down to the culprits."""
        try:
            vectors = np.asarray(self.encoder.encode(inputs), np.float32)
        except Exception as error:
            if len(ids) > 1:
                if _is_out_of_memory(error) and self.batch_size > 1:
                    raise MemoryError from error
                half = len(ids) // 2
                first = self._batch(ids[:half], inputs[:half])
                second = self._batch(ids[half:], inputs[half:])
                return first[0] + second[0], _stack([first[1], second[1]]), first[2] + second[2]
            return [], _stack([]), [(ids[0], RecordError("encoder.error", _said(error)))]
        finite = np.isfinite(vectors).all(axis=1)
        failed = [
            (part, RecordError("encoder.nan", "its vector is not finite"))
            for part, good in zip(ids, finite, strict=True)
            if not good
        ]
        kept = [part for part, good in zip(ids, finite, strict=True) if good]
        return kept, vectors[finite], failed


def _stack(blocks: list[np.ndarray]) -> np.ndarray:
    filled = [b for b in blocks if len(b)]
    return np.concatenate(filled) if filled else np.empty((0, 0), np.float32)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
