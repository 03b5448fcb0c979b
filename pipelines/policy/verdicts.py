"""What a policy has decided of samples: by which rule each went first, and why, told on demand."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa

# rows -> what they had and what was the limit, as text
Explain = Callable[[np.ndarray], tuple[pa.Array, pa.Array]]
_KEPT = -1
_BLOCK = 1 << 16  # rows that are counted at a time, within the cache


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

    def by(self, group: np.ndarray, groups: int) -> np.ndarray:
        """(groups,) how many samples of each are kept; `group` is (n,), which one each is of."""
        found = np.zeros(groups, np.int64)
        for start in range(0, len(group), _BLOCK):
            here = slice(start, start + _BLOCK)
            found += np.bincount(group[here][self._first[here] == _KEPT], minlength=groups)
        return found

    def counts(self) -> dict[str, int]:
        """How many samples each rule has rejected."""
        found = np.zeros(1 + len(self._rules), np.int64)
        for start in range(0, len(self._first), _BLOCK):
            block = self._first[start : start + _BLOCK] - _KEPT
            found += np.bincount(block, minlength=len(found))
        told: Counter[str] = Counter()
        for (rule, _), count in zip(self._rules, found[1:].tolist(), strict=True):
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
