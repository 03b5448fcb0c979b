"""What a stage did with its records: counts and ledger entries."""

from dataclasses import dataclass, field

from store.errors import ConservationError, RecordError

_MOST_WHOLE = 1e15


@dataclass(frozen=True)
class Entry:
    """A record for the ledger: rejected (with value and threshold), failed (with an error) or
    unmeasured."""

    source: str
    key: str
    rule: str
    outcome: str = "rejected"
    id: str | None = None
    value: str | None = None
    threshold: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, source: str, key: str, error: RecordError, id: str | None = None) -> "Entry":
        """The entry for an error: rejected if the error has a threshold, else failed."""
        if error.threshold is None:
            # Messages of libraries may contain surrogates, which are not valid UTF-8.
            message = error.error.encode("utf-8", "backslashreplace").decode()
            return cls(source, key, error.rule, "failed", id, error=message)
        return cls(
            source, key, error.rule, "rejected", id, _number(error.value), _number(error.threshold)
        )


@dataclass(frozen=True)
class Counts:
    """How many records a stage of a drop read, kept, rejected and failed."""

    input: int = 0
    kept: int = 0
    rejected: int = 0
    failed: int = 0

    def check(self, what: str) -> None:
        """Raise ConservationError unless input = kept + rejected + failed. `what` is for the
        message."""
        if self.input != self.kept + self.rejected + self.failed:
            raise ConservationError(
                f"{what}: {self.input} records went in, but {self.kept} kept + {self.rejected}"
                f" rejected + {self.failed} failed came out; nothing was published"
            )


@dataclass(frozen=True)
class UnitOutcome:
    """The counts and ledger entries of a unit. `broken` are the records that count against the
    error budget."""

    input: int
    kept: int
    entries: list[Entry] = field(default_factory=list)
    broken: int = 0


def _number(value: float | None) -> str | None:
    """A number as a string: whole ones with all of their digits, up to 15."""
    if value is None:
        return None
    is_whole = float(value).is_integer() and abs(value) < _MOST_WHOLE
    return f"{value:.0f}" if is_whole else f"{value:g}"
