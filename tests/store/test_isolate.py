"""Bisection of failing batches: every item is processed once or blamed once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.isolate import isolate_failures


@given(st.integers(0, 200), st.sets(st.integers(0, 199)))
def test_exactly_the_failing_items_are_blamed(count: int, broken: set[int]) -> None:
    calls = []

    def process(start: int, stop: int) -> list[int]:
        calls.append((start, stop))
        if broken & set(range(start, stop)):
            raise ValueError(f"{start}:{stop}")
        return list(range(start, stop))

    outcomes = list(isolate_failures(count, process))
    items = []
    for start, outcome in outcomes:
        if isinstance(outcome, Exception):
            assert str(outcome) == f"{start}:{start + 1}"
            assert start in broken
            items.append(start)
        else:
            assert not outcome or outcome[0] == start
            items += outcome
    assert items == list(range(count))
    failing = len([n for n in broken if n < count])
    assert len(calls) <= 1 + 2 * failing * max(1, count.bit_length())


def test_fatal_errors_are_raised_at_once() -> None:
    calls = []

    def process(start: int, stop: int) -> None:
        calls.append((start, stop))
        raise KeyError("no model")

    with pytest.raises(KeyError):
        list(isolate_failures(8, process, fatal=(KeyError,)))
    assert calls == [(0, 8)]


def test_an_empty_batch_that_fails_blames_no_item() -> None:
    def process(start: int, stop: int) -> None:
        raise ValueError("not even for nothing")

    with pytest.raises(ValueError, match="nothing"):
        list(isolate_failures(0, process))
