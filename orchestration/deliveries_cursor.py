"""What the sensor `deliveries` remembers from tick to tick."""

import json
from dataclasses import asdict, dataclass, field, replace

LISTED_AGAIN = 50  # settled drops that a tick lists
_FIRST_SECONDS = 60
_MOST_SECONDS = 3600


@dataclass(frozen=True)
class DeliveriesCursor:
    """The listings of drops, where the next tick goes on, and recent errors.

    Attributes:
        listings: the listing hash of each drop when it was last listed.
        settled: drops whose hash was the same twice.
        last: the settled drop that was listed last.
        errors: ticks in a row that failed.
        error: of the last one.
        retry_at: no tick before this time (seconds since 1970) does anything.
    """

    listings: dict[str, str] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)
    last: str = ""
    errors: int = 0
    error: str = ""
    retry_at: float = 0

    @classmethod
    def read(cls, text: str | None) -> "DeliveriesCursor":
        """Read a cursor; one of an earlier version holds the listings only."""
        content = json.loads(text or "{}")
        return cls(**content) if "listings" in content else cls(listings=content)

    def text(self) -> str:
        """The cursor as Dagster stores it."""
        return json.dumps(asdict(self))

    def choose(self, drops: list[str]) -> list[str]:
        """The drops to list now: all that have not settled, and the next ones that have.

        Args:
            drops: all drops that are delivered.
        """
        delivered = set(drops)
        settled = sorted(delivered & set(self.settled))
        after = [name for name in settled if name > self.last]
        turn = (after + settled)[: min(LISTED_AGAIN, len(settled))]
        return sorted((delivered - set(settled)) | set(turn))

    def listed(
        self, drops: list[str], listings: dict[str, str], settled: list[str]
    ) -> "DeliveriesCursor":
        """The cursor after a tick.

        Args:
            drops: all drops that are delivered. Others are forgotten.
            listings: of the drops that were listed.
            settled: those of them whose hash was as before.
        """
        known = {name: hash_ for name, hash_ in self.listings.items() if name in set(drops)}
        unchanged = (set(self.settled) - listings.keys()) & set(drops)
        turn = [name for name in sorted(listings) if name in set(self.settled)]
        after = [name for name in turn if name > self.last]
        return DeliveriesCursor(
            known | listings,
            sorted(unchanged | set(settled)),
            # In a turn that began again at the front, the names up to `last` come last.
            ([name for name in turn if name <= self.last] or after or [self.last])[-1],
        )

    def failed(self, error: str, now: float) -> "DeliveriesCursor":
        """The cursor after an error: the pause doubles each time, up to an hour."""
        pause = min(_FIRST_SECONDS * 2**self.errors, _MOST_SECONDS)
        return replace(self, errors=self.errors + 1, error=error, retry_at=now + pause)
