"""The errors that isotrope raises. Messages say what was wrong and what to do.

All are subclasses of `IsotropeError`. The command line prints them without a traceback.
"""


class IsotropeError(Exception):
    """Base class of all errors of isotrope."""


class ConfigError(IsotropeError):
    """corpus.yaml (or a value given for it) is not valid."""


class SourceError(IsotropeError):
    """A source or a drop cannot be read at all: it is missing, empty or of an unknown format."""


class InputError(IsotropeError, ValueError):
    """An argument of a call is wrong: its shape, type, range or name."""


class NotFoundError(IsotropeError, LookupError):
    """Something named does not exist: a table, a release, a key, a column or a file."""


class MissingPackageError(IsotropeError, ImportError):
    """A package that an extra of isotrope installs is not there."""


class DamagedTableError(IsotropeError):
    """A table exists, but its files cannot be read: one is missing, torn or has wrong bytes."""


class SchemaError(IsotropeError):
    """A table has other columns than this version of isotrope reads or writes.

    Nothing was written.
    """


class FormatError(IsotropeError):
    """The format of a table is newer than this version of isotrope, or must be migrated first."""


class ConservationError(IsotropeError):
    """input = kept + rejected + failed does not hold, so nothing was published."""


class BudgetError(IsotropeError):
    """More of a drop's records failed than its error budget allows, so nothing was published."""


class CrashError(IsotropeError):
    """A unit of work crashed its process repeatedly, and the record that caused it is not known."""


class InvariantError(IsotropeError):
    """Rows would violate an invariant of their table, so nothing was published."""


class BusyError(IsotropeError):
    """Another process holds the lock of the table or of the stage."""


class QueryTimeoutError(IsotropeError, TimeoutError):
    """A query ran for longer than its timeout."""


class StoreError(IsotropeError):
    """The object store of the tables cannot be reached, or refuses."""


class AccessError(IsotropeError):
    """A server wants an API key, or refuses the one that was sent."""


class ServerError(IsotropeError):
    """A server cannot be reached, or answers with something else than it should."""


class ClusterError(IsotropeError):
    """A Ray cluster cannot be reached or joined."""


class EncoderError(IsotropeError):
    """An encoder cannot be loaded, or it is not the one that made the release."""


class NotAlignedError(EncoderError, NotFoundError):
    """A tower's projection has not been learned yet."""


class RecordError(IsotropeError):
    """One input record is invalid. Stages catch this error and write a row of the ledger.

    With `value` and `threshold`, the record is rejected: it exceeds a limit. Without them, it is
    failed.

    Args:
        rule: the rule that the record breaks, such as `image.truncated` or `text.encoding`.
        error: what is wrong with the record.
        value: the value that exceeds the limit.
        threshold: the limit.
    """

    def __init__(
        self, rule: str, error: str, *, value: float | None = None, threshold: float | None = None
    ):
        super().__init__(f"{rule}: {error}")
        self.rule = rule
        self.error = error
        self.value = value
        self.threshold = threshold

    def __reduce__(self):  # default pickling loses the keyword arguments
        return (_record_error, (self.rule, self.error, self.value, self.threshold))


def _record_error(
    rule: str, error: str, value: float | None, threshold: float | None
) -> RecordError:
    return RecordError(rule, error, value=value, threshold=threshold)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if it has no message.

    For errors of libraries, whose messages go on with details.
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
