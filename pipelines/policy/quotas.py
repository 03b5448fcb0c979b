"""The policy's third phase: keep the best samples, step by step, among those that are left.

Each step keeps a number or a share (rounded up) of the best samples of each group. Samples are
ranked by a signal, or by a number that each draws from a seed and its id. Equal samples are ranked
by id and then by drop. So the result depends neither on the order of rows nor on that of drops.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.column_files import Columns, Values, value_of_each
from pipelines.policy.concept_balance import balance
from pipelines.policy.concepts import Matches, Matching
from pipelines.policy.coreset import ReadVectors, keep_coreset
from pipelines.policy.draws import drawn_numbers
from pipelines.policy.groups import group_rows
from pipelines.policy.identity_order import Ids, identity_order
from pipelines.policy.ranked_scores import Ranked, ranked_scores
from pipelines.policy.row_rules import Column, as_text
from pipelines.policy.signal_columns import take_rows
from pipelines.policy.verdicts import Explain, Verdicts
from store.arrays import ragged_ranges
from store.config.policy import ROW_OPERATORS, Cap, Policy, Rule
from store.config.rules import Concepts, Coreset
from store.identity import id_words

_MOST = 0xFFFFFFFF  # of the numbers that are drawn
_MOST_TIED = 1 << 21  # rows with equal scores that are sorted at a time
_BLOCK = 1 << 20  # rows that are ranked at a time


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


def quota_steps(policy: Policy) -> Iterator[QuotaStep | Concepts | Coreset]:
    """The steps of a policy, in its order: from `keep_top` and `keep_bottom`, caps, `concepts`,
    `coreset` and `sample`."""
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
        elif isinstance(item, Concepts | Coreset):
            yield item
        else:
            name = "sample.share" if item.share is not None else "sample.count"
            yield QuotaStep(name, None, True, item.by, None, item.share, item.count, item.seed)


def reads_ids(policy: Policy) -> bool:
    """Whether a step of the policy needs the ids of all samples: it draws numbers from them, or
    looks for vectors by them."""
    steps = quota_steps(policy)
    return any(isinstance(step, Concepts | Coreset) or step.signal is None for step in steps)


def apply_quotas(
    policy: Policy,
    samples: Columns,
    ids: Ids,
    verdicts: Verdicts,
    matches: Mapping[Matching, Matches] | None = None,
    vectors: ReadVectors | None = None,
) -> None:
    """Reject the samples that the policy's steps leave out, among those kept so far.

    Args:
        samples: `drop` and the policy's columns, as `signal_columns.packed` gives them; with `id`
            if a step needs them (`reads_ids`).
        ids: the packed ids of given rows.
        verdicts: the decisions so far; changed in place.
        matches: with concepts, by `Concepts.matching`.
        vectors: with a coreset, reads the vectors of samples.
    """
    for step in quota_steps(policy):
        if isinstance(step, Concepts):
            balance(step, (matches or {})[step.matching], samples, verdicts)
        elif isinstance(step, Coreset):
            assert vectors is not None
            keep_coreset(step, samples, ids, verdicts, vectors)
        else:
            _apply(step, samples, ids, verdicts)


def _apply(step: QuotaStep, samples: Columns, ids: Ids, verdicts: Verdicts) -> None:
    """Reject the samples that a step leaves out."""
    counted = verdicts.kept
    if step.required is not None:
        counted &= ~_is_missing(samples[step.required])
    if not counted.any():
        return
    group, names = value_of_each(samples, np.int32), list[str | None]([None])
    if step.by is not None:
        names = group_rows(samples[step.by], group)
    quota = np.zeros(len(names), np.int64)
    for start in range(0, samples.num_rows, _BLOCK):
        block = slice(start, start + _BLOCK)
        quota += np.bincount(group[block][counted[block]], minlength=len(names))
    if step.share is not None:  # rounded: the product's last digits are the float's error
        quota = np.maximum(np.ceil(np.round(quota * step.share, 6)), 1).astype(np.int64)
    else:
        quota = np.full(len(names), step.count)

    scores = _scores(samples, step)

    def blocks() -> Iterator[Ranked]:
        for start in range(0, samples.num_rows, _BLOCK):
            block = slice(start, start + _BLOCK)
            inside = np.flatnonzero(counted[block])
            yield start + inside, group[block][inside], scores[block][inside]

    def order(rows: np.ndarray) -> np.ndarray:
        return identity_order(samples, ids, rows)

    def by_id(rows: np.ndarray) -> np.ndarray:
        return _inverted(id_words(ids(rows))[:, 0].astype(np.uint64))

    keep, last = best_of_groups(blocks, group, quota, order, by_id)
    verdicts.reject(step.name, counted & ~keep, _explain(step, samples, group, last, names))


def best_of_groups(
    blocks: Callable[[], Iterator[Ranked]],
    group: Values,
    quota: np.ndarray,
    order: Callable[[np.ndarray], np.ndarray],
    by_id: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the best rows of each group.

    Args:
        blocks: reads the rows that are ranked.
        group: (n,) the number of each row's group.
        quota: (groups,) how many rows each group keeps, at least 1.
        order: rows (k,) with equal scores -> the permutation that sorts them, the best first.
        by_id: rows (k,) -> (k,) uint64 scores in the order of their ids, for very many rows with
            equal scores.

    Returns:
        (n,) bool, the rows that are kept; and (groups,) int64, a row with the worst score that is
        kept in each group, -1 in empty groups.
    """
    counts = np.zeros(len(quota), np.int64)
    for _, groups, _ in blocks():
        counts += np.bincount(groups, minlength=len(quota))
    limit, place = ranked_scores(blocks, np.minimum(quota, counts) - 1)
    keep, last = np.zeros(len(group), bool), np.full(len(quota), -1, np.int64)
    equals, tied = np.zeros(len(quota), np.int64), [np.empty(0, np.int64)]
    for rows, groups, score in blocks():
        limits = limit.astype(score.dtype)[groups]
        keep[rows] = score >= limits
        is_equal = score == limits
        rows, groups = rows[is_equal], groups[is_equal]
        last[groups] = rows
        equals += np.bincount(groups, minlength=len(quota))
        tied.append(rows)
    # Rows with the score of the limit: in groups that keep too many, the last of them are rejected.
    rows = np.concatenate(tied)
    rows = rows[(equals > place + 1)[group[rows]]]
    if len(rows) > _MOST_TIED and by_id is not None:
        read = by_id

        def by_ids() -> Iterator[Ranked]:
            for start in range(0, len(rows), _BLOCK):
                some = rows[start : start + _BLOCK]
                yield some, group[some], read(some)

        keep[rows] = best_of_groups(by_ids, group, place + 1, order)[0][rows]
        return keep, last
    rows = rows[order(rows)]
    rows = rows[np.argsort(group[rows], kind="stable")]
    rank = ragged_ranges(0, np.bincount(group[rows], minlength=len(quota)))
    keep[rows] = rank <= place[group[rows]]
    return keep, last


def _scores(samples: Columns, step: QuotaStep) -> Values:
    """What samples are ranked by, (n,) unsigned: larger is better, 0 for a missing value."""
    is_wide = step.signal is not None and samples[step.signal].type.bit_width > 32
    out = value_of_each(samples, np.uint64 if is_wide else np.uint32)
    for start in range(0, len(out), _BLOCK):
        column = samples[step.signal or "id"].slice(start, _BLOCK)
        if step.signal is None:
            score = drawn_numbers(column.chunks, step.name, step.seed)
            score = _inverted(score) if step.smallest else score
        else:
            score = _scores_of_signal(column, step.smallest)
        out[start : start + len(score)] = score
    return out


def _scores_of_signal(column: pa.ChunkedArray, smallest: bool) -> np.ndarray:
    """The values of a signal as unsigned integers: larger is better, 0 for a missing value."""
    missing = _is_missing(column)
    values = pc.fill_null(column, 0).to_numpy()
    if values.dtype == np.float64 or values.dtype == np.float32:
        # As integers, the bits of positive floats sort as the floats do, those of negative floats
        # the other way. Adding 0 makes 0 of -0.
        kind = np.uint32 if values.dtype == np.float32 else np.uint64
        sign = kind(1) << kind(8 * values.itemsize - 1)
        bits = (values + values.dtype.type(0)).view(kind)
        score = np.where(bits & sign, ~bits, bits | sign)
    elif values.dtype.itemsize > 4:
        score = values.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
    else:
        score = values.astype(np.int32).view(np.uint32) ^ np.uint32(1 << 31)
    score = _inverted(score) if smallest else score
    return np.where(missing, score.dtype.type(0), score)


def _inverted(score: np.ndarray) -> np.ndarray:
    return np.iinfo(score.dtype).max - score


def _drawn(samples: Columns, step: QuotaStep, rows: np.ndarray) -> np.ndarray:
    """The numbers that some rows draw."""
    return drawn_numbers([take_rows(samples["id"], rows)], step.name, step.seed)


def _is_missing(column: Column) -> np.ndarray:
    """Which values are null or NaN, (n,) bool."""
    floating = pa.types.is_floating(column.type)
    return np.array(pc.is_null(column, nan_is_null=floating))


def _explain(
    step: QuotaStep,
    samples: Columns,
    group: Values,
    last: np.ndarray,
    names: list[str | None],
) -> Explain:
    """The value of a rejected sample, and as threshold the worst value that its group keeps."""

    def values(rows: np.ndarray) -> pa.Array:
        if step.signal is not None:
            return as_text(take_rows(samples[step.signal], rows))
        return as_text(pa.array(_drawn(samples, step, rows) / float(_MOST)))

    limits = pc.fill_null(values(np.maximum(last, 0)), "none")
    if step.by is not None:
        group_names = pc.fill_null(pa.array(names, pa.string()), f"no {step.by}")
        limits = pc.binary_join_element_wise(limits, group_names, " of ")

    def explain(rejected: np.ndarray) -> tuple[pa.Array, pa.Array]:
        return values(rejected), limits.take(pa.array(group[rejected]))

    return explain
