"""How long the children of one file may take.

What counts is their processor time, so that a busy machine rejects no sound file; and a tenth of
the time on the clock, so that a child that sleeps ends too.
"""

import time

import psutil

from pipelines.sources.isolated.pipe import Message, Pipe

_CLOCK_SHARE = 0.1
_POLL_SECONDS = 0.25


class UsedUpError(Exception):
    """The time is used up.

    Attributes:
        seconds: that were allowed.
        what: may take so long.
    """

    def __init__(self, seconds: float, what: str):
        super().__init__(f"it takes more than the {seconds:g} seconds that {what} may take")
        self.seconds = seconds


class Allowance:
    """The time of one file.

    Args:
        result_seconds: for one message.
        seconds: for all messages.
    """

    def __init__(self, result_seconds: float, seconds: float):
        self._result_seconds, self._seconds = result_seconds, seconds
        self._used = 0.0

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left for another message."""
        return self._used >= self._seconds

    def message(self, pipe: Pipe, child: int) -> Message:
        """The next message of a child.

        Args:
            pipe: its output.
            child: its process id.

        Raises:
            UsedUpError: it takes too long.
            EOFError, BadMessageError: as `Pipe.message` does.
        """
        processor, clock = _processor_seconds(child), time.monotonic()
        used = 0.0
        try:
            while True:
                try:
                    return pipe.message(time.monotonic() + _POLL_SECONDS)
                except TimeoutError:
                    by_clock = _CLOCK_SHARE * (time.monotonic() - clock)
                    used = max(used, _processor_seconds(child) - processor, by_clock)
                if used >= self._result_seconds:
                    raise UsedUpError(self._result_seconds, "one result")
                if self._used + used >= self._seconds:
                    raise UsedUpError(self._seconds, "the whole file")
        finally:
            self._used += max(used, _processor_seconds(child) - processor)


def _processor_seconds(child: int) -> float:
    """The processor time of a process; 0 if it has ended."""
    try:
        times = psutil.Process(child).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system
