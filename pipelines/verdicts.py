"""What a policy has decided of samples: by which rule each went first, and why, told on demand."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa

# rows -> what they had and what was the limit, as text
Explain = Callable[[np.ndarray], tuple[pa.Array, pa.Array]]
_KEPT = -1


class Verdicts:
    """(n,) samples, all kept until they are rejected."""

    def __init__(self, rows: int):
        self._first = np.full(rows, _KEPT, np.int16)
        self._rules: list[tuple[str, Explain]] = []

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool."""
        return self._first == _KEPT

    def reject(self, rule: str, rows: np.ndarray, explain: Explain) -> None:
        """Reject rows, of which none is yet: the first rule to reject a sample is the one named."""
        if len(rows):
            self._first[rows] = len(self._rules)
            self._rules.append((rule, explain))

    def counts(self) -> dict[str, int]:
        """How many samples each rule has rejected."""
        found = np.bincount(self._first[~self.kept], minlength=len(self._rules))
        told: Counter[str] = Counter()
        for (rule, _), count in zip(self._rules, found.tolist(), strict=True):
            told[rule] += count
        return dict(told)

    def reasons(self, start: int, stop: int) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Rule, value and threshold of the rows from `start` to `stop`; null where one is kept."""
        first = self._first[start:stop]
        place = np.full(len(first), -1, np.int64)
        parts: list[list[pa.Array]] = [[], [], []]
        at = 0
        for code in np.unique(first[first != _KEPT]).tolist():
            here = np.flatnonzero(first == code)
            place[here] = at + np.arange(len(here))
            at += len(here)
            rule, explain = self._rules[code]
            told = pa.array([rule] * len(here), pa.string()), *explain(here + start)
            for part, column in zip(parts, told, strict=True):
                part.append(column)
        taken = pa.array(place, mask=place < 0)
        rule, value, threshold = (pa.concat_arrays([pa.array([], pa.string()), *p]) for p in parts)
        return rule.take(taken), value.take(taken), threshold.take(taken)
