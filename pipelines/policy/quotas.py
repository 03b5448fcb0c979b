"""The policy's third phase: what is selected of the samples that are left, step by step.

Each step keeps the best of each group, so many or such a share of them (rounded up), by a signal or
by a number that every sample draws from a seed and its id. Of equals, ids and then drops decide.
So neither the order of rows nor that in which drops arrived has a part in it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.row_rules import shown
from pipelines.policy.signal_columns import at
from pipelines.policy.verdicts import Explain, Verdicts
from store import identity
from store.arrays import ragged_ranges, splitmix64
from store.config.policy import ROW, Cap, Policy, Rule
from store.identity import words

Ids: TypeAlias = Callable[[np.ndarray], pa.Array]  # rows -> their packed ids

_MOST = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class QuotaStep:
    """Keep the best `count`, or `share`, of each group of `by`, or of all.

    Args:
        name: what rejected samples are told.
        signal: whose largest values, or `smallest` ones, are the best; None: every sample draws a
            number.
        spares: the column without which a sample is left alone.
    """

    name: str
    signal: str | None
    smallest: bool
    by: str | None
    spares: str | None
    share: float | None = None
    count: int | None = None
    seed: int = 0


def steps(policy: Policy) -> Iterator[QuotaStep]:
    """What the policy selects by, in its order: `image_aesthetic.keep_top`, `caps.text_language`,
    `sample.share`."""
    for name, asked in policy.ordered():
        if isinstance(asked, Rule):
            for operator, share in asked.limits():
                if operator not in ROW:
                    smallest = operator == "keep_bottom"
                    yield QuotaStep(f"{name}.{operator}", name, smallest, asked.by, name, share)
        elif isinstance(asked, Cap):
            by, signal = asked.by, asked.largest or asked.smallest
            smallest = asked.largest is None
            yield QuotaStep(
                f"caps.{by}", signal, smallest, by, by, count=asked.most, seed=asked.seed
            )
        else:
            name = "sample.share" if asked.share is not None else "sample.count"
            yield QuotaStep(name, None, True, asked.by, None, asked.share, asked.count, asked.seed)


def draws(policy: Policy) -> bool:
    """Whether every sample draws a number."""
    return any(step.signal is None for step in steps(policy))


def select(policy: Policy, samples: pa.Table, ids: Ids, verdicts: Verdicts) -> None:
    """Reject what the policy does not select among the samples that are kept so far.

    Args:
        samples: `drop` and the policy's columns, as `signal_columns.packed` gives them; `id`
            where it draws.
    """
    for step in steps(policy):
        rows = np.flatnonzero(verdicts.kept)
        if step.spares is not None:
            rows = rows[~_missing(samples[step.spares])[rows]]
        if not len(rows):
            continue
        if step.by is not None:
            every, names = groups(samples[step.by])
            group = every[rows]
        else:
            group, names = np.zeros(len(rows), np.int32), [None]
        if step.signal is not None:
            score = _scores(samples[step.signal], rows)
        else:
            salt = identity.run_key(step.name, step.seed)
            numbers = [drawn(words(ids), int(salt[:16], 16)) for ids in samples["id"].chunks]
            score = np.concatenate(numbers)[rows]
        score = np.where(score > 0, _MOST - score, score) if step.smallest else score
        quota = np.bincount(group, minlength=len(names))
        if step.share is not None:  # the product's last digits are the float's, not the share's
            quota = np.maximum(np.ceil(np.round(quota * step.share, 6)), 1).astype(np.int64)
        else:
            quota = np.full(len(names), step.count)
        keep, last = best(score, group, quota, _by_identity(samples, ids, rows))
        told = _values(samples, step, rows, score)
        verdicts.reject(step.name, rows[~keep], _explain(step, rows, group, last, names, told))


def best(
    score: np.ndarray,
    group: np.ndarray,
    quota: np.ndarray,
    order: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are among the best of their group.

    Args:
        score: (n,) uint32, the larger the better; at least one.
        group: (n,) numbers of groups; `quota`: (groups,) how many each may keep, at least 1.
        order: places of equals -> what sorts them, the better ones first.

    Returns (n,) bool, and (groups,) the place of one that is the worst kept, -1 in empty groups.
    """
    key = group.astype(np.uint64) << np.uint64(32) | (_MOST - score)
    counts = np.bincount(group, minlength=len(quota))
    ends, quota = np.cumsum(counts), np.minimum(quota, counts)
    limit = np.sort(key)[ends - counts + quota - 1]
    keep = key <= limit[group]
    over = np.bincount(group[keep], minlength=len(quota)) - quota
    equal = np.flatnonzero(key == limit[group])
    last = np.full(len(quota), -1, np.int64)
    last[group[equal]] = equal
    equal = equal[over[group[equal]] > 0]
    equal = equal[order(equal)]
    equal = equal[np.argsort(group[equal], kind="stable")]
    size = np.bincount(group[equal], minlength=len(quota))
    rank = ragged_ranges(0, size)
    keep[equal[rank >= (size - over)[group[equal]]]] = False
    return keep, last


def groups(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """(n,) the number of each row's group, and the groups' names; the last is None, of null."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    coded = column.unify_dictionaries()
    names = coded.chunk(0).dictionary.cast(pa.string()).to_pylist() if coded.num_chunks else []
    group, start = np.empty(len(coded), np.int32), 0
    for chunk in coded.chunks:
        group[start : start + len(chunk)] = pc.fill_null(chunk.indices, len(names))
        start += len(chunk)
    return group, [*names, None]


def drawn(ids: np.ndarray, salt: int) -> np.ndarray:
    """(n,) uint32, at least 1: a number for each id, as if drawn at random.

    The two words of each id, (n, 2), which are hashes, and the salt, through the finaliser of
    SplitMix64 (Steele et al. 2014).
    """
    high, low = ids.T.astype(np.uint64)
    hashed = splitmix64((high ^ np.uint64(salt)) + low)
    return np.maximum((hashed >> np.uint64(32)).astype(np.uint32), np.uint32(1))


def _scores(column: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """(rows,) uint32 in the order of a signal's values; 0 where there is none."""
    missing = _missing(column)[rows]
    values = pc.fill_null(column, 0).to_numpy()[rows]
    if values.dtype.itemsize > 4:
        score = np.unique(values, return_inverse=True)[1].astype(np.uint32) + np.uint32(1)
    elif values.dtype == np.float32:
        bits = (values + np.float32(0)).view(np.uint32)  # -0 is 0
        score = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    else:
        score = values.astype(np.int32).view(np.uint32) ^ np.uint32(1 << 31)
    return np.where(missing, np.uint32(0), score)


def _missing(column: pa.ChunkedArray) -> np.ndarray:
    floating = pa.types.is_floating(column.type)
    return np.asarray(pc.is_null(column, nan_is_null=floating))


def _by_identity(
    samples: pa.Table, ids: Ids, rows: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    def order(places: np.ndarray) -> np.ndarray:
        drops = at(samples["drop"], rows[places])
        rank = np.argsort(np.argsort(drops.dictionary.to_pylist()))
        high, low = words(ids(rows[places])).T
        return np.lexsort((rank[drops.indices.to_numpy()], low, high))

    return order


def _values(
    samples: pa.Table, step: QuotaStep, rows: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], pa.Array]:
    """places -> what was compared there, as it is told: a signal, or the number that was drawn."""

    def told(places: np.ndarray) -> pa.Array:
        if step.signal is not None:
            values = at(samples[step.signal], rows[places])
        else:
            values = pa.array((_MOST - score[places]) / float(_MOST))
        return shown(values)

    return told


def _explain(
    step: QuotaStep,
    rows: np.ndarray,
    group: np.ndarray,
    last: np.ndarray,
    names: list[str | None],
    told: Callable[[np.ndarray], pa.Array],
) -> Explain:
    limits = pc.fill_null(told(np.maximum(last, 0)), "none")
    if step.by is not None:
        of = pc.fill_null(pa.array(names, pa.string()), f"no {step.by}")
        limits = pc.binary_join_element_wise(limits, of, " of ")

    def explain(rejected: np.ndarray) -> tuple[pa.Array, pa.Array]:
        places = np.searchsorted(rows, rejected)
        return told(places), limits.take(pa.array(group[places]))

    return explain
