"""Schedule units over the actors: prepare ahead, encode, and redo what a dead process lost.

A unit starts as one job. A job whose process died is run again. If the process dies again, the
job becomes two jobs of half its parts. A unit is finished when all its jobs are.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from embedders.pool.actors import DEATHS, Actors, Slot, get_reply
from embedders.pool.worker import (
    Encoded,
    ReadUnit,
    concatenate,
    failures_only,
    part_ids,
    prepare,
)
from store.errors import RecordError

_JOBS_PER_ACTOR = 2  # the one that it encodes, and the next
# The task reserves no CPU: the scheduler bounds how many run, and a reservation could wait for
# CPUs that the pool's own actors hold.
_prepare = ray.remote(num_cpus=0, max_retries=1, num_returns=2, scheduling_strategy="SPREAD")(
    prepare
)
_part_ids = ray.remote(num_cpus=0, max_retries=1)(part_ids)
FinishedUnits = Iterator[tuple[str, Encoded]]


@dataclass(eq=False)
class _Unit:
    """A unit, with the number of its unfinished jobs and the results of the finished ones."""

    name: str
    read: ReadUnit
    open_jobs: int = 1
    results: list[Encoded] = field(default_factory=list)


@dataclass(eq=False)
class _Job:
    """A range of a unit's parts.

    `start` and `stop` (None: the end) index the parts as `unit.read` returns them until the job
    is prepared; from then on they index the inputs that `prepared` refers to. `deaths` counts the
    processes that died with this job in its present stage.
    """

    unit: _Unit
    start: int = 0
    stop: int | None = None
    prepared: Any = None
    nbytes: int = 0
    deaths: int = 0

    def halves(self, stop: int) -> list["_Job"]:
        middle, nbytes = (self.start + stop) // 2, self.nbytes // 2
        # The parts of each half have died once already: another death halves it again.
        first = replace(self, stop=middle, nbytes=nbytes, deaths=1)
        return [first, replace(first, start=middle, stop=stop, nbytes=self.nbytes - nbytes)]


class Scheduler:
    """Iterates over (name, encoded parts) of units, each as soon as it is finished.

    Args:
        actors: started actors.
        units: (name, read) for each unit; see `embedders.pool.pool.Pool.map`.
        prepare_tasks: how many units are prepared at the same time.
        prepared_bytes: how many bytes may be prepared and not yet encoded.
    """

    def __init__(
        self,
        actors: Actors,
        units: Iterable[tuple[str, ReadUnit]],
        *,
        prepare_tasks: int,
        prepared_bytes: int,
    ):
        self.actors = actors
        self.units = iter(units)
        self.prepare_tasks = prepare_tasks
        self.prepared_bytes = prepared_bytes
        self.unprepared: deque[_Job] = deque()
        self.preparing: dict[Any, _Job] = {}
        self.ready: deque[_Job] = deque()
        self.held_bytes = 0  # prepared and not yet encoded
        self.largest_job = 0  # in bytes

    def __iter__(self) -> FinishedUnits:
        while True:
            self._start_preparing()
            self._start_encoding()
            encoding = {reply: slot for slot in self.actors.slots for reply in slot.jobs}
            if not (self.preparing or encoding):
                return
            (reply, *_), _ = ray.wait([*self.preparing, *encoding], num_returns=1)
            if slot := encoding.get(reply):
                yield from self._handle_encoded(slot, reply)
            else:
                yield from self._handle_prepared(reply)

    def _start_preparing(self) -> None:
        while self._may_prepare():
            if not self.unprepared:
                if (unit := next(self.units, None)) is None:
                    return
                self.unprepared.append(_Job(_Unit(*unit)))
            job = self.unprepared.popleft()
            job.prepared, summary = _prepare.remote(
                self.actors.spec, job.unit.read, job.start, job.stop
            )
            self.preparing[summary] = job

    def _may_prepare(self) -> bool:
        if not (self.preparing or self.ready):
            return True  # whatever its size: an actor would wait for it
        if len(self.preparing) >= self.prepare_tasks:
            return False
        limit = self.prepare_tasks + len(self.actors.slots)
        if len(self.preparing) + len(self.ready) >= limit:
            return False
        expected_bytes = self.held_bytes + self.largest_job * (len(self.preparing) + 1)
        return expected_bytes <= self.prepared_bytes

    def _start_encoding(self) -> None:
        while self.ready:
            job = self.ready[0]
            free = [slot for slot in self.actors.slots if _accepts(slot, job)]
            if not free:
                return
            self.ready.popleft()
            slot = min(free, key=lambda slot: len(slot.jobs))
            slot.jobs[slot.actor.encode.remote(job.prepared, job.start, job.stop)] = job

    def _handle_prepared(self, summary: Any) -> FinishedUnits:
        job = self.preparing.pop(summary)
        try:
            size, nbytes, failed = get_reply(summary)
        except DEATHS:
            yield from self._halve_unprepared(job)
            return
        self.held_bytes += nbytes
        self.largest_job = max(self.largest_job, nbytes)
        job.start, job.stop, job.nbytes, job.deaths = 0, size, nbytes, 0
        job.unit.results.append(failures_only(failed, self.actors.dim))
        if size:
            self.ready.append(job)
        else:
            yield from self._finish(job)

    def _halve_unprepared(self, job: _Job) -> FinishedUnits:
        """Halve a job whose preparation died, twice: Ray itself has retried the task once."""
        ids = get_reply(_part_ids.remote(job.unit.read))
        job.prepared, job.stop = None, len(ids) if job.stop is None else job.stop
        if job.stop - job.start > 1:
            job.unit.open_jobs += 1
            self.unprepared.extendleft(reversed(job.halves(job.stop)))
        else:
            yield from self._fail(job, ids[job.start : job.stop])

    def _handle_encoded(self, slot: Slot, reply: Any) -> FinishedUnits:
        try:
            encoded = get_reply(reply)
        except DEATHS:
            yield from self._replace_actor(slot)
            return
        job = slot.jobs.pop(reply)
        job.unit.results.append(encoded)
        yield from self._finish(job)

    def _replace_actor(self, slot: Slot) -> FinishedUnits:
        """Replace a dead actor and reschedule its unanswered jobs.

        The oldest of them is the suspect: the actor was encoding it when it died.
        """
        unanswered: list[_Job] = []
        for reply, job in slot.jobs.items():
            try:
                encoded = get_reply(reply)
            except DEATHS:
                unanswered.append(job)
            else:
                job.unit.results.append(encoded)
                yield from self._finish(job)
        slot.jobs = {}
        if not self.actors.replace(slot):
            self.ready.extendleft(reversed(unanswered))
            return
        suspect, *waiting = unanswered
        self.ready.extendleft(reversed(waiting))
        suspect.deaths += 1
        assert suspect.stop is not None
        if suspect.deaths == 1:
            self.ready.appendleft(suspect)
        elif suspect.stop - suspect.start > 1:
            suspect.unit.open_jobs += 1
            self.ready.extendleft(reversed(suspect.halves(suspect.stop)))
        else:
            yield from self._fail(suspect, [get_reply(suspect.prepared).ids[suspect.start]])

    def _fail(self, job: _Job, parts: list[str]) -> FinishedUnits:
        crash = RecordError("encoder.crash", "the encoder's process died of this part twice")
        job.unit.results.append(failures_only([(p, crash) for p in parts], self.actors.dim))
        yield from self._finish(job)

    def _finish(self, job: _Job) -> FinishedUnits:
        self.held_bytes -= job.nbytes
        job.unit.open_jobs -= 1
        if not job.unit.open_jobs:
            yield job.unit.name, concatenate(job.unit.results, self.actors.dim)


def _accepts(slot: Slot, job: _Job) -> bool:
    """Whether a job may be sent to an actor now.

    A job that an actor has died with gets an actor alone: if it killed the actor again, the
    reply of the job before it could be lost too, and that job would be blamed.
    """
    if any(sent.deaths for sent in slot.jobs.values()):
        return False
    return len(slot.jobs) < (1 if job.deaths else _JOBS_PER_ACTOR)
