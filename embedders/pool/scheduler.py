"""The way of units through a pool: prepared ahead, encoded, redone where a process died.

A unit is one job at first. A job whose process died is redone; where that dies too, it becomes
two jobs of half its parts. A unit is done when all its jobs are.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray

from embedders.pool.worker import Encoded, Load, joined, part_ids, prepare, without_vectors
from store.errors import RecordError

if TYPE_CHECKING:
    from embedders.pool.actors import Slot
    from embedders.pool.pool import Pool
from embedders.pool.actors import DEATHS, get

_DEPTH = 2  # what an actor has been sent: one to encode, and the next
Done = Iterator[tuple[str, Encoded]]


@dataclass(eq=False)
class _Unit:
    name: str
    read: Load
    jobs: int = 1
    pieces: list[Encoded] = field(default_factory=list)


@dataclass(eq=False)
class _Job:
    """Some parts of a unit: until they are prepared by their place in what is read, from then on
    by their place among what `prepared` refers to."""

    unit: _Unit
    start: int = 0
    stop: int | None = None
    prepared: Any = None
    nbytes: int = 0
    deaths: int = 0

    def halves(self, stop: int) -> list["_Job"]:
        middle, nbytes = (self.start + stop) // 2, self.nbytes // 2
        # Each has died with this job once: another death halves it again.
        first = replace(self, stop=middle, nbytes=nbytes, deaths=1)
        return [first, replace(first, start=middle, stop=stop, nbytes=self.nbytes - nbytes)]


class Scheduler:
    """Iterates over (name, what became of it) of units, each as it is done."""

    def __init__(self, pool: "Pool", units: Iterable[tuple[str, Load]]):
        self.pool = pool
        self.units = iter(units)
        self.unread: deque[_Job] = deque()
        self.preparing: dict[Any, _Job] = {}
        self.ready: deque[_Job] = deque()
        self.held = 0  # bytes prepared and not yet encoded
        self.largest = 0  # bytes of a job

    def __iter__(self) -> Done:
        while True:
            self._prepare_more()
            self._encode_more()
            sent = {ref: slot for slot in self.pool.slots for ref in slot.jobs}
            if not (self.preparing or sent):
                return
            (first, *_), _ = ray.wait([*self.preparing, *sent], num_returns=1)
            slot = sent.get(first)
            yield from self._prepared(first) if slot is None else self._replied(slot, first)

    def _prepare_more(self) -> None:
        while self._has_room():
            if not self.unread:
                if (unit := next(self.units, None)) is None:
                    return
                self.unread.append(_Job(_Unit(*unit)))
            job = self.unread.popleft()
            spec, read = self.pool.spec, job.unit.read
            job.prepared, summary = prepare.remote(spec, read, job.start, job.stop)
            self.preparing[summary] = job

    def _has_room(self) -> bool:
        if not (self.preparing or self.ready):
            return True  # whatever it takes: an actor would wait for it
        if len(self.preparing) >= self.pool.workers:
            return False
        if len(self.preparing) + len(self.ready) >= self.pool.workers + self.pool.size:
            return False
        expected = self.held + self.largest * (len(self.preparing) + 1)
        return expected <= self.pool.prepared_bytes

    def _encode_more(self) -> None:
        while self.ready:
            job = self.ready[0]
            free = [slot for slot in self.pool.slots if _takes(slot, job)]
            if not free:
                return
            self.ready.popleft()
            slot = min(free, key=lambda slot: len(slot.jobs))
            slot.jobs[slot.actor.encode.remote(job.prepared, job.start, job.stop)] = job

    def _prepared(self, summary: Any) -> Done:
        job = self.preparing.pop(summary)
        try:
            size, nbytes, failed = get(summary)
        except DEATHS:
            ids = get(part_ids.remote(job.unit.read))
            job.prepared, job.stop = None, len(ids) if job.stop is None else job.stop
            if job.stop - job.start > 1:
                job.unit.jobs += 1
                self.unread.extendleft(reversed(job.halves(job.stop)))
            else:
                yield from self._crashed(job, ids[job.start : job.stop])
            return
        self.held += nbytes
        self.largest = max(self.largest, nbytes)
        job.start, job.stop, job.nbytes, job.deaths = 0, size, nbytes, 0
        job.unit.pieces.append(without_vectors(failed, self.pool.dim))
        if size:
            self.ready.append(job)
        else:
            yield from self._closed(job)

    def _replied(self, slot: "Slot", reply: Any) -> Done:
        try:
            encoded = get(reply)
        except DEATHS:
            yield from self._bury(slot)
            return
        job = slot.jobs.pop(reply)
        job.unit.pieces.append(encoded)
        yield from self._closed(job)

    def _bury(self, slot: "Slot") -> Done:
        """Replace a dead actor. What it was sent is answered, or was being encoded, or waited."""
        undone: list[_Job] = []
        for reply, job in slot.jobs.items():
            try:
                encoded = get(reply)
            except DEATHS:
                undone.append(job)
            else:
                job.unit.pieces.append(encoded)
                yield from self._closed(job)
        slot.jobs = {}
        if not self.pool.replace(slot):
            self.ready.extendleft(reversed(undone))
            return
        suspect, *waited = undone
        self.ready.extendleft(reversed(waited))
        suspect.deaths += 1
        assert suspect.stop is not None
        if suspect.deaths == 1:
            self.ready.appendleft(suspect)
        elif suspect.stop - suspect.start > 1:
            suspect.unit.jobs += 1
            self.ready.extendleft(reversed(suspect.halves(suspect.stop)))
        else:
            yield from self._crashed(suspect, [get(suspect.prepared).ids[suspect.start]])

    def _crashed(self, job: _Job, parts: list[str]) -> Done:
        crash = RecordError("encoder.crash", "the encoder's process died of it, twice")
        job.unit.pieces.append(without_vectors([(p, crash) for p in parts], self.pool.dim))
        yield from self._closed(job)

    def _closed(self, job: _Job) -> Done:
        self.held -= job.nbytes
        job.unit.jobs -= 1
        if not job.unit.jobs:
            yield job.unit.name, joined(job.unit.pieces, self.pool.dim)


def _takes(slot: "Slot", job: _Job) -> bool:
    """Whether an actor may be sent a job: one that an actor has died with is alone with its actor,
    since the answer to what came before it may die with the actor, and would be blamed."""
    if any(sent.deaths for sent in slot.jobs.values()):
        return False
    return len(slot.jobs) < (1 if job.deaths else _DEPTH)
