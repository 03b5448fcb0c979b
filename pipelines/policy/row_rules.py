"""The policy's first phase: rules that look at one sample alone. No model runs.

Rules of signals are tried before those of pairs' signals, which what they reject does not have;
within each, in the order of corpus.yaml. The first that a sample breaks is the one named.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.config.policy import ROW, Policy
from store.tables import schema

Column: TypeAlias = pa.Array | pa.ChunkedArray


@dataclass(frozen=True)
class RowTest:
    """One test of one signal: `min`, `max`, `in`, `not_in` or `null`."""

    signal: str
    operator: str
    limit: Any

    @property
    def name(self) -> str:
        return f"{self.signal}.{self.operator}"

    @property
    def threshold(self) -> str:
        """The limit as it is told."""
        if isinstance(self.limit, tuple):
            return json.dumps(self.limit)
        return self.limit if isinstance(self.limit, str) else f"{self.limit:g}"

    def broken(self, column: Column) -> np.ndarray:
        """(n,) bool, which values break it. What is no number counts as null."""
        if self.operator == "min":
            breaks = pc.less(column, self.limit)
        elif self.operator == "max":
            breaks = pc.greater(column, self.limit)
        elif self.operator == "in":
            breaks = pc.invert(_among(column, self.limit))
        elif self.operator == "not_in":
            breaks = _among(column, self.limit)
        else:
            breaks = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        return np.asarray(pc.fill_null(breaks, False))


def prefilter(policy: Policy) -> list[RowTest]:
    """The tests of signals, which exist before models run: what breaks them gets no vectors."""
    return _tests(policy, schema.SIGNAL_TYPES)


def row_tests(policy: Policy) -> list[RowTest]:
    """The tests of the first phase, in order: what passes them is eligible for the others."""
    return prefilter(policy) + _tests(policy, schema.PAIR_TYPES)


def passes(tests: list[RowTest], columns: pa.Table | pa.RecordBatch) -> np.ndarray:
    """(n,) bool, the rows that break none of the tests."""
    keep = np.ones(columns.num_rows, bool)
    for test in tests:
        keep &= ~test.broken(columns[test.signal])
    return keep


def policy_hash(policy: Policy) -> str:
    """What decisions depend on: all of the policy, its order included."""
    return identity.run_key("policy", list(policy.written().items()))


def hash_of(tests: list[RowTest]) -> str:
    return identity.run_key("tests", [[t.signal, t.operator, t.limit] for t in tests])


def pair_signals(names: list[str]) -> list[str]:
    """Those among signals that are of pairs."""
    return [name for name in names if name in schema.PAIR_TYPES]


def shown(column: Column) -> Column:
    """Values as they are told, text of the same length."""
    if pa.types.is_floating(column.type):
        column = pc.round(column, ndigits=4)
    return column.cast(pa.string())


def _tests(policy: Policy, signals: Mapping[str, pa.DataType]) -> list[RowTest]:
    rules = [(name, rule) for name, rule in policy.rules.items() if name in signals]
    return [RowTest(name, op, v) for name, rule in rules for op, v in rule.limits() if op in ROW]


def _among(column: Column, values: tuple[str, ...]) -> Column:
    """Whether each is one of the values; null where it is null."""
    if pa.types.is_dictionary(column.type):
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return _among(whole.dictionary, values).take(whole.indices)
    within = pc.is_in(column, value_set=pa.array(values, column.type))
    return pc.if_else(pc.is_valid(column), within, None)
