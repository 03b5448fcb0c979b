"""The policy's first phase: rules about one sample alone. No model runs.

Rules about signals come first, then those about signals of pairs, since samples that the former
reject have none; within each, in the order of corpus.yaml. The first rule that a sample breaks is
the one that is recorded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.config.policy import ROW_OPERATORS, Policy
from store.tables import schema
from store.tables.cascade_notes import REJECT
from store.tables.signals import optional_scorers

Column: TypeAlias = pa.Array | pa.ChunkedArray
PREDICTED = "predicted"


@dataclass(frozen=True)
class RowTest:
    """One test of one signal.

    Attributes:
        signal: the column.
        operator: `min`, `max`, `in`, `not_in` or `null`; or `predicted`, of the column `cascade`.
        limit: what the value is compared with; of `predicted`, the scorer whose rules are predicted
            to reject the sample.
    """

    signal: str
    operator: str
    limit: Any

    @property
    def name(self) -> str:
        """The name of the rule, such as `image_min_side.min` or `image_nsfw.predicted`."""
        if self.operator == PREDICTED:
            return f"{self.limit}.{PREDICTED}"
        return f"{self.signal}.{self.operator}"

    @property
    def threshold(self) -> str:
        """The limit as text."""
        if isinstance(self.limit, tuple):
            return json.dumps(self.limit)
        return self.limit if isinstance(self.limit, str) else f"{self.limit:g}"

    def broken(self, column: Column) -> np.ndarray:
        """Which values break the test, (n,) bool. NaN counts as null, which only `null` rejects."""
        if self.operator == "min":
            breaks = pc.less(column, self.limit)
        elif self.operator == "max":
            breaks = pc.greater(column, self.limit)
        elif self.operator == "in":
            breaks = pc.invert(_is_among(column, self.limit))
        elif self.operator == "not_in":
            breaks = _is_among(column, self.limit)
        elif self.operator == PREDICTED:
            breaks = pc.match_substring_regex(_plain(column), rf"\b{self.limit}={REJECT}\b")
        else:
            breaks = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        return np.asarray(pc.fill_null(breaks, False))


def prefilter(policy: Policy) -> list[RowTest]:
    """The tests of signals, which run before any model. Samples that break one get no vectors.

    Those of a cascade come last, in its order, so that a sample is rejected by the rule for which
    the cascade did not measure it; then those of its predictions.
    """
    tests, cascade = _tests(policy, schema.SIGNAL_TYPES), policy.cascade
    if cascade is None:
        return tests
    columns = optional_scorers()
    late = [name for scorer in cascade.scorers for name in columns[scorer]]
    tests.sort(key=lambda test: late.index(test.signal) + 1 if test.signal in late else 0)
    predicted = cascade.scorers if cascade.loss is not None else ()
    return [*tests, *(RowTest("cascade", PREDICTED, scorer) for scorer in predicted)]


def row_tests(policy: Policy) -> list[RowTest]:
    """The tests of the first phase, in order. The later phases see the samples that pass them."""
    return prefilter(policy) + _tests(policy, schema.PAIR_TYPES)


def passes(tests: list[RowTest], columns: pa.Table | pa.RecordBatch) -> np.ndarray:
    """Which rows pass all tests, (n,) bool."""
    keep = np.ones(columns.num_rows, bool)
    for test in tests:
        keep &= ~test.broken(columns[test.signal])
    return keep


def policy_hash(policy: Policy) -> str:
    """A hash of everything that decisions depend on: the whole policy, with its order."""
    return identity.run_key("policy", list(policy.written().items()))


def hash_of_tests(tests: list[RowTest]) -> str:
    """A hash of tests in their order."""
    return identity.run_key("tests", [[t.signal, t.operator, t.limit] for t in tests])


def pair_signals(names: list[str]) -> list[str]:
    """The names that are signals of pairs."""
    return [name for name in names if name in schema.PAIR_TYPES]


def as_text(column: Column) -> Column:
    """The values of a column as strings, floats rounded to four digits."""
    if pa.types.is_floating(column.type):
        column = pc.round(column, ndigits=4)
    return column.cast(pa.string())


def _tests(policy: Policy, signals: Mapping[str, pa.DataType]) -> list[RowTest]:
    rules = [(name, rule) for name, rule in policy.rules.items() if name in signals]
    return [
        RowTest(name, op, v)
        for name, rule in rules
        for op, v in rule.limits()
        if op in ROW_OPERATORS
    ]


def _plain(column: Column) -> Column:
    """A column of strings that may be dictionary-encoded, as strings."""
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _is_among(column: Column, values: tuple[str, ...]) -> Column:
    """Whether each value is one of `values`; null for null."""
    if pa.types.is_dictionary(column.type):
        combined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return _is_among(combined.dictionary, values).take(combined.indices)
    within = pc.is_in(column, value_set=pa.array(values, column.type))
    return pc.if_else(pc.is_valid(column), within, None)
