"""The error budget: a drop with too many failed records is not published.

A drop that is clearly over its budget is not even read to its end.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from store.config.sources import Errors
from store.errors import BudgetError
from store.tables.staging import Entry, StageRun

# img2dataset reports these records and never delivered them, so they are no fault of the drop.
NEVER_DELIVERED = "fetch.failed"
_MIN_UNITS, _STANDARD_ERRORS = 16, 4
_TOP_RULES = 5
_PAUSE = 20  # between two throttled checks, in durations of the last one
_last_checks: dict[str, tuple[float, float]] = {}  # by run key: when it ended and how long it took


def broken(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that an error budget counts: records that were delivered and failed."""
    return [e for e in entries if e.outcome == "failed" and e.rule != NEVER_DELIVERED]


def is_clearly_over(inputs: np.ndarray, counts: np.ndarray, most: float) -> bool:
    """Whether the units read so far show that the whole drop is over its budget.

    They do where there are 16 or more, and their share of broken records exceeds `most` by four
    standard errors of a ratio of sums over clusters (Cochran 1977, section 6.8). The order in which
    units are read must not depend on what is in them.

    Args:
        inputs: (n,) records in each unit.
        counts: (n,) broken records in each unit.
        most: the largest share of broken records that is allowed.
    """
    units, read = len(inputs), inputs.sum()
    if units < _MIN_UNITS or not read:
        return False
    share = counts.sum() / read
    variance = ((counts - share * inputs) ** 2).sum() / (units * (units - 1))
    standard_error = math.sqrt(variance) / (read / units)
    return bool(share - _STANDARD_ERRORS * standard_error > most)


@dataclass(frozen=True)
class Budget:
    """How many records of a drop with `total` records may be broken.

    Picklable: workers check it before they read a unit.
    """

    errors: Errors
    total: int

    def check_throttled(self, run: StageRun) -> None:
        """`check_early`, in at most a twentieth of this process's time.

        A check takes longer the more units are done. Raises BudgetError.
        """
        start = time.monotonic()
        last_end, duration = _last_checks.get(run.run_key, (0.0, 0.0))
        if start - last_end >= _PAUSE * duration:
            self.check_early(run)
            _last_checks[run.run_key] = (time.monotonic(), time.monotonic() - start)

    def check_early(self, run: StageRun) -> None:
        """Check the units that are staged so far.

        Raises:
            BudgetError: the drop is certain to end over its budget, or `is_clearly_over` says so.
        """
        done = run.tallies()
        inputs, counts = (done[c].to_numpy() for c in ("input", "broken"))
        count, most = counts.sum(), self.errors.most
        if count < self.errors.least:
            return
        if count > most * self.total or is_clearly_over(inputs, counts, most):
            raise self._error(run)

    def check_complete(self, run: StageRun) -> None:
        """Check a drop of which all units are staged.

        Raises:
            BudgetError: it is over its budget.
        """
        count = sum(run.tallies()["broken"].to_pylist())
        if count >= self.errors.least and count > self.errors.most * self.total:
            raise self._error(run)

    def _error(self, run: StageRun) -> BudgetError:
        entries = broken(run.entries())
        read = sum(run.tallies()["input"].to_pylist())
        rules = Counter(e.rule for e in entries)
        examples: dict[str, Entry] = {}
        for entry in sorted(entries, key=lambda e: (e.source, e.key)):
            examples.setdefault(entry.rule, entry)
        lines = [
            f"  {count} {rule}, such as {examples[rule].key} in {examples[rule].source}:"
            f" {examples[rule].error}"
            for rule, count in sorted(rules.items(), key=lambda r: (-r[1], r[0]))[:_TOP_RULES]
        ]
        return BudgetError(
            f"drop {run.drop!r}: {len(entries)} of {read} records that were read failed, which is"
            f" over the error budget (errors: {{most: {self.errors.most:g}, least:"
            f" {self.errors.least}}}) of its {self.total} records. Nothing was published. The most"
            " frequent errors:\n" + "\n".join(lines) + "\n"
            "Repair the drop, or raise `errors.most` in corpus.yaml. Records that were read stay"
            " staged and are not read again"
        )
