"""The policy's third phase: keep the best samples, step by step, among those that are left.

Each step keeps a number or a share (rounded up) of the best samples of each group. Samples are
ranked by a signal, or by a number that each draws from a seed and its id. Equal samples are ranked
by id and then by drop. So the result depends neither on the order of rows nor on that of drops.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.concept_balance import balance
from pipelines.policy.concepts import Matches
from pipelines.policy.draws import drawn_numbers
from pipelines.policy.row_rules import as_text
from pipelines.policy.signal_columns import take_rows
from pipelines.policy.verdicts import Explain, Verdicts
from store.arrays import ragged_ranges
from store.config.policy import ROW_OPERATORS, Cap, Policy, Rule
from store.config.rules import Concepts
from store.identity import id_words

Ids: TypeAlias = Callable[[np.ndarray], pa.Array]  # rows (k,) -> their packed ids

_MOST = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class QuotaStep:
    """Keep the best of each group.

    Attributes:
        name: the rule that is recorded for rejected samples.
        signal: the signal that samples are ranked by; None: by a number that each draws.
        smallest: the smallest values are the best, else the largest.
        by: the column that names the group; None: all samples are one group.
        required: the column without which a sample is neither counted nor rejected.
        share: the share of each group that is kept.
        count: the number of samples of each group that are kept, if there is no share.
        seed: of the numbers that are drawn.
    """

    name: str
    signal: str | None
    smallest: bool
    by: str | None
    required: str | None
    share: float | None = None
    count: int | None = None
    seed: int = 0


def quota_steps(policy: Policy) -> Iterator[QuotaStep | Concepts]:
    """The steps of a policy, in its order: from `keep_top` and `keep_bottom`, caps, `concepts` and
    `sample`."""
    for name, item in policy.ordered():
        if isinstance(item, Rule):
            for operator, share in item.limits():
                if operator not in ROW_OPERATORS:
                    smallest = operator == "keep_bottom"
                    yield QuotaStep(f"{name}.{operator}", name, smallest, item.by, name, share)
        elif isinstance(item, Cap):
            by, signal = item.by, item.largest or item.smallest
            smallest = item.largest is None
            yield QuotaStep(f"caps.{by}", signal, smallest, by, by, count=item.most, seed=item.seed)
        elif isinstance(item, Concepts):
            yield item
        else:
            name = "sample.share" if item.share is not None else "sample.count"
            yield QuotaStep(name, None, True, item.by, None, item.share, item.count, item.seed)


def draws_numbers(policy: Policy) -> bool:
    """Whether a step of the policy ranks samples by numbers that they draw."""
    steps = quota_steps(policy)
    return any(isinstance(step, Concepts) or step.signal is None for step in steps)


def apply_quotas(
    policy: Policy,
    samples: pa.Table,
    ids: Ids,
    verdicts: Verdicts,
    matches: Mapping[str, Matches] | None = None,
) -> None:
    """Reject the samples that the policy's steps leave out, among those kept so far.

    Args:
        samples: `drop` and the policy's columns, as `signal_columns.packed` gives them; with `id`
            if a step draws numbers.
        ids: the packed ids of given rows.
        verdicts: the decisions so far; changed in place.
        matches: with concepts, by the name of their list.
    """
    for step in quota_steps(policy):
        if isinstance(step, Concepts):
            balance(step, (matches or {})[step.names], samples, verdicts)
            continue
        rows = np.flatnonzero(verdicts.kept)
        if step.required is not None:
            rows = rows[~_is_missing(samples[step.required])[rows]]
        if not len(rows):
            continue
        if step.by is not None:
            all_groups, names = group_rows(samples[step.by])
            group = all_groups[rows]
        else:
            group, names = np.zeros(len(rows), np.int32), [None]
        if step.signal is not None:
            score = _scores(samples[step.signal], rows)
        else:
            score = drawn_numbers(samples, step.name, step.seed)[rows]
        # A score of 0 stays 0: it means that there is no value, which is worst either way.
        score = np.where(score > 0, _MOST - score, score) if step.smallest else score
        quota = np.bincount(group, minlength=len(names))
        if step.share is not None:  # rounded: the product's last digits are the float's error
            quota = np.maximum(np.ceil(np.round(quota * step.share, 6)), 1).astype(np.int64)
        else:
            quota = np.full(len(names), step.count)
        keep, last = best_of_groups(score, group, quota, _identity_order(samples, ids, rows))
        values = _values_as_text(samples, step, rows, score)
        verdicts.reject(step.name, rows[~keep], _explain(step, rows, group, last, names, values))


def best_of_groups(
    score: np.ndarray,
    group: np.ndarray,
    quota: np.ndarray,
    order: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best rows of each group.

    Args:
        score: (n,) uint32, larger is better; n is at least 1.
        group: (n,) the number of each row's group.
        quota: (groups,) how many rows each group keeps, at least 1.
        order: rows (k,) with equal scores -> the permutation that sorts them, the best first.

    Returns:
        (n,) bool, the rows that are kept; and (groups,) int64, a row with the worst score that is
        kept in each group, -1 in empty groups.
    """
    # One key for both: groups ascending, and within each the best first.
    key = group.astype(np.uint64) << np.uint64(32) | (_MOST - score)
    counts = np.bincount(group, minlength=len(quota))
    ends, quota = np.cumsum(counts), np.minimum(quota, counts)
    limit = np.sort(key)[ends - counts + quota - 1]
    keep = key <= limit[group]
    surplus = np.bincount(group[keep], minlength=len(quota)) - quota
    # Rows with the score of the limit: in groups that keep too many, the last of them are rejected.
    equal = np.flatnonzero(key == limit[group])
    last = np.full(len(quota), -1, np.int64)
    last[group[equal]] = equal
    equal = equal[surplus[group[equal]] > 0]
    equal = equal[order(equal)]
    equal = equal[np.argsort(group[equal], kind="stable")]
    size = np.bincount(group[equal], minlength=len(quota))
    rank = ragged_ranges(0, size)
    keep[equal[rank >= (size - surplus)[group[equal]]]] = False
    return keep, last


def group_rows(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """Number the distinct values of a column.

    Returns:
        (n,) int32, the number of each row's value; and the values by number, as strings. The last
        value is None, for null.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries()
    names = encoded.chunk(0).dictionary.cast(pa.string()).to_pylist() if encoded.num_chunks else []
    group, start = np.empty(len(encoded), np.int32), 0
    for chunk in encoded.chunks:
        group[start : start + len(chunk)] = pc.fill_null(chunk.indices, len(names))
        start += len(chunk)
    return group, [*names, None]


def _scores(column: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """The values of a signal as scores in the same order, (rows,) uint32; 0 for a missing value."""
    missing = _is_missing(column)[rows]
    values = pc.fill_null(column, 0).to_numpy()[rows]
    if values.dtype.itemsize > 4:
        score = np.unique(values, return_inverse=True)[1].astype(np.uint32) + np.uint32(1)
    elif values.dtype == np.float32:
        # As integers, the bits of positive floats sort as the floats do, those of negative floats
        # the other way. Adding 0 makes 0 of -0.
        bits = (values + np.float32(0)).view(np.uint32)
        score = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    else:
        score = values.astype(np.int32).view(np.uint32) ^ np.uint32(1 << 31)
    return np.where(missing, np.uint32(0), score)


def _is_missing(column: pa.ChunkedArray) -> np.ndarray:
    """Which values are null or NaN, (n,) bool."""
    floating = pa.types.is_floating(column.type)
    return np.asarray(pc.is_null(column, nan_is_null=floating))


def _identity_order(
    samples: pa.Table, ids: Ids, rows: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The order of equal samples, by id and then by drop; positions are indices into `rows`."""

    def order(positions: np.ndarray) -> np.ndarray:
        drops = take_rows(samples["drop"], rows[positions])
        rank = np.argsort(np.argsort(drops.dictionary.to_pylist()))
        high, low = id_words(ids(rows[positions])).T
        return np.lexsort((rank[drops.indices.to_numpy()], low, high))

    return order


def _values_as_text(
    samples: pa.Table, step: QuotaStep, rows: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], pa.Array]:
    """Positions in `rows` -> what samples were ranked by, as text: a signal or a drawn number."""

    def values(positions: np.ndarray) -> pa.Array:
        if step.signal is not None:
            column = take_rows(samples[step.signal], rows[positions])
        else:
            column = pa.array((_MOST - score[positions]) / float(_MOST))
        return as_text(column)

    return values


def _explain(
    step: QuotaStep,
    rows: np.ndarray,
    group: np.ndarray,
    last: np.ndarray,
    names: list[str | None],
    values: Callable[[np.ndarray], pa.Array],
) -> Explain:
    """The value of a rejected sample, and as threshold the worst value that its group keeps."""
    limits = pc.fill_null(values(np.maximum(last, 0)), "none")
    if step.by is not None:
        group_names = pc.fill_null(pa.array(names, pa.string()), f"no {step.by}")
        limits = pc.binary_join_element_wise(limits, group_names, " of ")

    def explain(rejected: np.ndarray) -> tuple[pa.Array, pa.Array]:
        positions = np.searchsorted(rows, rejected)
        return values(positions), limits.take(pa.array(group[positions]))

    return explain
