"""The error budget: what is broken is not published, and what clearly is, not read to its end."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from store.config.sources import Errors
from store.errors import BudgetError
from store.tables.staging import Entry, StageRun

NEVER_DELIVERED = "fetch.failed"  # known to img2dataset, and no fault of the drop
_UNITS, _DEVIATIONS = 16, 4
_REASONS = 5
_PATIENCE = 20
_looked: dict[str, tuple[float, float]] = {}  # when a run was looked at, and how long it took


def broken(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that an error budget counts: what failed, and was delivered."""
    return [e for e in entries if e.outcome == "failed" and e.rule != NEVER_DELIVERED]


def is_clearly_over(inputs: np.ndarray, counts: np.ndarray, most: float) -> bool:
    """Whether units (n,) with so many records, so many of them broken, tell of a drop over budget.

    They do where there are 16 or more, and the share of what is broken in them is over `most` by
    four standard errors of a ratio of sums over clusters (Cochran 1977, 6.8). Units have to be
    done in an order that has nothing to do with what is in them.
    """
    units, read = len(inputs), inputs.sum()
    if units < _UNITS or not read:
        return False
    share = counts.sum() / read
    spread = ((counts - share * inputs) ** 2).sum() / (units * (units - 1))
    return bool(share - _DEVIATIONS * math.sqrt(spread) / (read / units) > most)


@dataclass(frozen=True)
class Budget:
    """What may be broken of a drop of `total` records. Picklable: workers look before they read."""

    errors: Errors
    total: int

    def glance(self, run: StageRun) -> None:
        """Look, but for a twentieth of this process's time at most: it takes the longer the more
        units are done."""
        began = time.monotonic()
        ended, took = _looked.get(run.run_key, (0.0, 0.0))
        if began - ended >= _PATIENCE * took:
            self.look(run)
            _looked[run.run_key] = (time.monotonic(), time.monotonic() - began)

    def look(self, run: StageRun) -> None:
        """Raise BudgetError where the drop is sure to be over its budget, or clearly is."""
        if self._is_over(run):
            raise self._error(run)

    def check(self, run: StageRun) -> None:
        """Raise BudgetError where what is staged, which is all of the drop, is over its budget."""
        count = sum(run.tallies()["broken"].to_pylist())
        if count >= self.errors.least and count > self.errors.most * self.total:
            raise self._error(run)

    def _is_over(self, run: StageRun) -> bool:
        done = run.tallies()
        inputs, counts = (done[c].to_numpy() for c in ("input", "broken"))
        if counts.sum() < self.errors.least:
            return False
        most = self.errors.most
        return counts.sum() > most * self.total or is_clearly_over(inputs, counts, most)

    def _error(self, run: StageRun) -> BudgetError:
        entries = broken(run.entries())
        read = sum(run.tallies()["input"].to_pylist())
        reasons = Counter(e.rule for e in entries)
        first: dict[str, Entry] = {}
        for entry in sorted(entries, key=lambda e: (e.source, e.key)):
            first.setdefault(entry.rule, entry)
        lines = [
            f"  {count} {rule}, such as {first[rule].key} in {first[rule].source}:"
            f" {first[rule].error}"
            for rule, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))[:_REASONS]
        ]
        return BudgetError(
            f"drop {run.drop!r}: {len(entries)} of {read} records that were read failed, which is"
            f" over the budget (errors: {{most: {self.errors.most:g}, least: {self.errors.least}}})"
            f" of its {self.total}; nothing was published. Most of them:\n"
            + "\n".join(lines)
            + "\n"
            "Mend the drop, or raise `errors.most` in corpus.yaml: what has been read is not read"
            " again"
        )
