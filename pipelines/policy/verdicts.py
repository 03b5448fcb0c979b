"""The decisions on all samples: the rule that rejected each, and on demand its reason."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa

# rows (k,) -> their values and their thresholds, (k,) strings
Explain = Callable[[np.ndarray], tuple[pa.Array, pa.Array]]
_KEPT = -1
_BLOCK = 1 << 16  # rows that are counted at a time, so that they fit into the processor's cache


class Verdicts:
    """Decisions on n samples. All are kept until they are rejected.

    Attributes:
        figures: measures of steps, by name, such as how well a coreset represents what it is from.
    """

    def __init__(self, rows: int):
        self._first = np.full(rows, _KEPT, np.int16)  # index in _rules of the first that rejected
        self._rules: list[tuple[str, Explain]] = []
        self.figures: dict[str, float] = {}

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool."""
        return self._first == _KEPT

    def reject(self, rule: str, rows: np.ndarray, explain: Explain) -> None:
        """Reject samples.

        Args:
            rule: the name that is recorded.
            rows: samples that are still kept: (k,) indices, or (n,) bool.
            explain: gives the reasons for some of these rows; called only when they are needed.
        """
        if rows.any() if rows.dtype == bool else len(rows):
            self._first[rows] = len(self._rules)
            self._rules.append((rule, explain))

    def kept_by(self, group: np.ndarray, groups: int) -> np.ndarray:
        """Count the kept samples of each group.

        Args:
            group: (n,) the number of each sample's group.
            groups: how many groups there are.

        Returns:
            (groups,) int64.
        """
        counts = np.zeros(groups, np.int64)
        for start in range(0, len(group), _BLOCK):
            block = slice(start, start + _BLOCK)
            counts += np.bincount(group[block][self._first[block] == _KEPT], minlength=groups)
        return counts

    def counts(self) -> dict[str, int]:
        """The number of samples that each rule rejected."""
        by_index = np.zeros(1 + len(self._rules), np.int64)
        for start in range(0, len(self._first), _BLOCK):
            block = self._first[start : start + _BLOCK] - _KEPT
            by_index += np.bincount(block, minlength=len(by_index))
        counts: Counter[str] = Counter()
        for (rule, _), count in zip(self._rules, by_index[1:].tolist(), strict=True):
            counts[rule] += count
        return dict(counts)

    def reasons(self, start: int, stop: int) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Rule, value and threshold of the rows from `start` to `stop`; null for a kept row."""
        first = self._first[start:stop]
        index = np.full(len(first), -1, np.int64)  # of each row in the concatenated columns
        blocks: list[list[pa.Array]] = [[], [], []]
        end = 0
        for code in np.unique(first[first != _KEPT]).tolist():
            rows = np.flatnonzero(first == code)
            index[rows] = end + np.arange(len(rows))
            end += len(rows)
            rule, explain = self._rules[code]
            columns = pa.array([rule] * len(rows), pa.string()), *explain(rows + start)
            for column_blocks, column in zip(blocks, columns, strict=True):
                column_blocks.append(column)
        taken = pa.array(index, mask=index < 0)
        rule, value, threshold = (pa.concat_arrays([pa.array([], pa.string()), *b]) for b in blocks)
        return rule.take(taken), value.take(taken), threshold.take(taken)
