"""The policy: which signals a sample must have to be kept. No model runs.

The rules are tried in the order of corpus.yaml; the first that a sample breaks is the one named.
"""

import json

import pyarrow as pa
import pyarrow.compute as pc

from store import identity, schema
from store.config import Rule

Policy = dict[str, Rule]


def policy_hash(policy: Policy) -> str:
    return identity.run_key("policy", [[n, r.model_dump(by_alias=True)] for n, r in policy.items()])


def apply(policy: Policy, signals: pa.Table) -> pa.Table:
    """One row of `decisions` for each row of `signals`, in the same order."""
    rows = signals.num_rows
    broken = pa.array([False] * rows, pa.bool_())
    rule, value, threshold = (pa.nulls(rows, pa.string()) for _ in range(3))
    for name, limits in policy.items():
        column = signals[name].combine_chunks()
        for operator, limit, breaks in _tests(column, limits):
            first = pc.and_(pc.fill_null(breaks, False), pc.invert(broken))
            rule = pc.if_else(first, f"{name}.{operator}", rule)
            value = pc.if_else(first, _shown(column), value)
            threshold = pc.if_else(first, limit, threshold)
            broken = pc.or_(broken, first)
    columns = [signals["drop"], signals["id"], pc.invert(broken), rule, value, threshold]
    policy_column = pa.array([policy_hash(policy)] * rows, pa.string())
    return pa.Table.from_arrays([*columns, policy_column], schema=schema.DECISIONS)


def _tests(column: pa.Array, limits: Rule) -> list[tuple[str, str, pa.Array]]:
    """(operator, threshold as shown, which rows break it) for each test that a rule makes."""
    tests = []
    if limits.min is not None:
        tests.append(("min", f"{limits.min:g}", pc.less(column, limits.min)))
    if limits.max is not None:
        tests.append(("max", f"{limits.max:g}", pc.greater(column, limits.max)))
    if limits.one_of:
        within = pc.is_in(column, value_set=pa.array(limits.one_of))
        tests.append(
            ("in", json.dumps(limits.one_of), pc.and_(pc.is_valid(column), pc.invert(within)))
        )
    if limits.none_of:
        within = pc.is_in(column, value_set=pa.array(limits.none_of))
        tests.append(("not_in", json.dumps(limits.none_of), within))
    if limits.null == "reject":
        tests.append(("null", "reject", pc.is_null(column)))
    return tests


def _shown(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        column = pc.round(column, ndigits=4)
    return column.cast(pa.string())
