"""The errors that isotrope raises on purpose: each says what was wrong and what would be right.

Whoever catches `IsotropeError` catches all of them; the command line prints them without a
traceback.
"""


class IsotropeError(Exception):
    """Base of every error that isotrope raises on purpose."""


class ConfigError(IsotropeError):
    """corpus.yaml (or a value given for it) is not valid."""


class SourceError(IsotropeError):
    """A source or a drop cannot be read at all: it is missing, empty or of no known format."""


class InputError(IsotropeError, ValueError):
    """An argument of a call is wrong: its shape, type, range or name."""


class NotFoundError(IsotropeError, LookupError):
    """What was asked for by name is not there: a table, a release, a key, a column."""


class ConservationError(IsotropeError):
    """in = kept + rejected + failed does not hold, so nothing was published."""


class BudgetError(IsotropeError):
    """More of a drop's records failed than its error budget allows, so nothing was published."""


class CrashError(IsotropeError):
    """A unit of work took its process down time and again, and nothing tells what in it did."""


class InvariantError(IsotropeError):
    """Rows about to be published break a promise of their table, so nothing was published."""


class BusyError(IsotropeError):
    """Another process holds the lock of the table or of the stage."""


class EncoderError(IsotropeError):
    """An encoder cannot be loaded, or is not the one that the release was made with."""


class NotAlignedError(EncoderError, NotFoundError):
    """A tower's projection has yet to be learned."""


class RecordError(IsotropeError):
    """One input record is bad. Caught where records are read; becomes a row of the ledger.

    `rule` names what it broke (`image.truncated`, `text.encoding` ...); `value` and `threshold`
    are given where a limit was passed, which makes it a rejection; without them it is a failure.
    """

    def __init__(
        self, rule: str, error: str, *, value: float | None = None, threshold: float | None = None
    ):
        super().__init__(f"{rule}: {error}")
        self.rule = rule
        self.error = error
        self.value = value
        self.threshold = threshold

    def __reduce__(self):  # keyword arguments survive pickling between workers
        return (_record_error, (self.rule, self.error, self.value, self.threshold))


def _record_error(
    rule: str, error: str, value: float | None, threshold: float | None
) -> RecordError:
    return RecordError(rule, error, value=value, threshold=threshold)
