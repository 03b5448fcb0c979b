"""The array idioms, against plain loops."""

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.arrays import (
    connected_components,
    count_true,
    equal_range,
    is_unit_length,
    lookup,
    ragged_ranges,
    splitmix64,
)
from store.arrow import as_matrix, vector_column

small = st.integers(0, 9)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 5)), max_size=20))
def test_ragged_ranges_are_concatenated_ranges(ranges: list[tuple[int, int]]) -> None:
    starts, lengths = np.array(ranges, np.int64).reshape(-1, 2).T
    expected = [value for start, length in ranges for value in range(start, start + length)]
    result = ragged_ranges(starts, lengths)
    assert result.tolist() == expected
    assert result.dtype == np.int64
    within = [value for _, length in ranges for value in range(length)]
    assert ragged_ranges(0, lengths).tolist() == within


@given(st.integers(0, 5), st.integers(0, 600), st.randoms(use_true_random=False))
def test_true_values_are_counted(rows: int, width: int, random: Random) -> None:
    mask = [[random.random() < 0.9 for _ in range(width)] for _ in range(rows)]
    counts = count_true(np.array(mask, bool).reshape(rows, width))
    assert counts.tolist() == [sum(row) for row in mask]


@given(st.lists(small), st.lists(small))
def test_equal_range_counts_and_finds_the_first(values: list[int], keys: list[int]) -> None:
    values.sort()
    first, count = equal_range(np.array(values, np.int64), np.array(keys, np.int64))
    for key, start, number in zip(keys, first.tolist(), count.tolist(), strict=True):
        assert number == values.count(key)
        assert values[start : start + number] == [key] * number


@given(st.sets(small), st.lists(small))
def test_lookup_gives_the_index_or_minus_one(values: set[int], keys: list[int]) -> None:
    ordered = sorted(values)
    expected = [ordered.index(key) if key in values else -1 for key in keys]
    for kind in (np.int64, np.str_):  # single digits sort alike as strings
        result = lookup(np.array(ordered, kind), np.array(keys, kind))
        assert result.tolist() == expected


@given(st.integers(0, 12), st.data())
def test_connected_components_are_those_of_a_walk(nodes: int, data: st.DataObject) -> None:
    node = st.integers(0, max(nodes - 1, 0))
    edges = data.draw(st.lists(st.tuples(node, node), max_size=15 if nodes else 0))
    expected = list(range(nodes))
    for _ in range(nodes):  # the smallest label spreads by at least one edge in each round
        for a, b in edges:
            expected[a] = expected[b] = min(expected[a], expected[b])
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    result = connected_components(a, b, nodes)
    assert result.tolist() == expected
    assert result.dtype == np.int64


@pytest.mark.parametrize("times", [127, 128, 256, 512, 65_536])
def test_an_edge_counts_however_often_it_repeats(times: int) -> None:
    a, b = np.full(times, 2), np.full(times, 0)
    assert connected_components(a, b, 3).tolist() == [0, 1, 0]


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_splitmix64_is_the_published_finaliser(values: list[int]) -> None:
    def finalise(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    given_values = np.array(values, np.uint64)
    assert splitmix64(given_values).tolist() == [finalise(value) for value in values]
    assert given_values.tolist() == values  # the input is not changed


def test_splitmix64_generates_the_published_sequence() -> None:
    # The first outputs of the reference generator with seed 1234567.
    state = (1234567 + 0x9E3779B97F4A7C15 * np.arange(1, 4, dtype=object)) % 2**64
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(state.astype(np.uint64)).tolist() == expected


def test_unit_length_is_within_a_tolerance_and_never_nan() -> None:
    lengths = [1, 0.9991, 1.0009, 0.998, 1.002, 0, np.nan, np.inf]
    rows = np.array([[0.6, 0.8]], np.float32) * np.array(lengths, np.float32)[:, None]
    assert is_unit_length(rows).tolist() == [True, True, True, *[False] * 5]


@given(st.integers(0, 5), st.integers(1, 4), st.sampled_from(["float16", "float32"]))
def test_vector_columns_round_trip(rows: int, dims: int, dtype: str) -> None:
    matrix = np.arange(rows * dims).reshape(rows, dims).astype(dtype)
    column = vector_column(matrix)
    assert column.to_pylist() == matrix.tolist()
    assert column.type.list_size == dims
    halves = pa.chunked_array([column.slice(0, rows // 2), column.slice(rows // 2)])
    for stored in (column, halves):
        result = as_matrix(stored)
        np.testing.assert_array_equal(result, matrix)
        assert result.dtype == np.float32  # what computations take, whatever is stored
