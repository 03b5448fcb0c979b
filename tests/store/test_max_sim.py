"""Late interaction gives what its formula gives on dense matrices; codes keep the vectors."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from store.corrections import prepare
from store.search.max_sim import max_sim, mixed
from store.tables import tokens
from store.tables.tokens import MOST, TokenSets
from tests.helpers import dense


def unit(rng: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    x = rng.normal(size=(rows, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@st.composite
def token_sets(draw: st.DrawFn, most: int = 6) -> tuple[TokenSets, np.random.Generator]:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    lengths = np.array(draw(st.lists(st.integers(0, most), min_size=1, max_size=8)))
    return TokenSets(unit(rng, int(lengths.sum()), draw(st.integers(2, 40))), lengths), rng


@given(token_sets(), st.integers(1, 5), st.booleans())
def test_max_sim_is_its_formula(
    given_sets: tuple[TokenSets, np.random.Generator], size: int, has_biases: bool
) -> None:
    sets, rng = given_sets
    query = unit(rng, size, sets.vectors.shape[1])
    biases = rng.normal(size=len(sets.vectors)).astype(np.float32) if has_biases else None
    scores = max_sim(query, sets, biases)
    start = 0
    for score, length in zip(scores, sets.lengths, strict=True):
        own = range(start, start + int(length))
        start += int(length)
        if not length:
            assert np.isnan(score)
            continue
        expected = [
            max(float(q @ sets.vectors[j]) - (0 if biases is None else biases[j]) for j in own)
            for q in query
        ]
        np.testing.assert_allclose(score, np.mean(expected), atol=1e-5)


@given(token_sets(), st.integers(1, 40), st.integers(1, 9), st.floats(0.1, 1))
def test_biases_of_tokens_are_the_mean_of_the_nearest_bank_tokens(
    given_sets: tuple[TokenSets, np.random.Generator], bank_size: int, k: int, alpha: float
) -> None:
    sets, rng = given_sets
    bank = unit(rng, bank_size, sets.vectors.shape[1])
    bank_ids = rng.integers(100, 103, bank_size).astype(str)
    ids = np.repeat(rng.integers(100, 103, len(sets.lengths)).astype(str), sets.lengths)
    prepared = prepare(
        "nnn", query_bank=bank, gallery_bank=bank, query_bank_ids=bank_ids, alpha=alpha, k=k
    )
    if not len(ids):
        return
    biases = prepared.apply(sets.vectors, ids)[0].bias
    for row, own, bias in zip(sets.vectors, ids, biases, strict=True):
        left = dense.unmasked(bank, bank_ids, own)
        if len(left):  # a token whose bank tokens are all masked has a mean of others
            np.testing.assert_allclose(
                bias, dense.nnn(row, left, None, alpha=alpha, k=k)[1], atol=1e-5
            )


@given(token_sets(most=MOST))
def test_vectors_are_packed_and_stored_as_codes(
    given_sets: tuple[TokenSets, np.random.Generator],
) -> None:
    sets, _ = given_sets
    unpacked = tokens.unpack(tokens.pack(sets))
    np.testing.assert_array_equal(unpacked.vectors, sets.vectors)
    np.testing.assert_array_equal(unpacked.lengths, sets.lengths)
    column = tokens.column(sets)
    assert column.type == tokens.schema(sets.vectors.shape[1]).field("tokens").type
    read = tokens.read_column(pa.chunked_array([column]))
    np.testing.assert_array_equal(read.lengths, sets.lengths)
    # A code is off by half of max|x| / 127 at most.
    dim = sets.vectors.shape[1]
    bound = 0.5 / 127 * np.sqrt(dim) * np.abs(sets.vectors).max(axis=1, initial=0)
    cosines = (read.vectors * sets.vectors).sum(axis=1)
    assert (cosines >= np.sqrt(np.maximum(1 - bound**2, 0)) - 1e-6).all()


def test_a_part_of_a_column_is_read() -> None:
    sets = TokenSets(unit(np.random.default_rng(0), 9, 4), np.array([2, 3, 0, 4]))
    column = tokens.column(sets).slice(1, 2)
    read = tokens.read_column(pa.chunked_array([column]))
    np.testing.assert_array_equal(read.lengths, [3, 0])
    np.testing.assert_allclose(read.vectors, sets.vectors[2:5], atol=0.01)


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=9),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_a_mix_is_of_scaled_scores(scores: list[float], weight: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = np.array(scores)
    late = np.where(rng.random(len(own)) < 0.3, np.nan, rng.normal(size=len(own)))
    out = mixed(own, late, weight)
    assert np.isfinite(out).all()
    present = late[~np.isnan(late)]
    for n, value in enumerate(out):
        z = (own[n] - own.mean()) / (own.std() or 1)
        if np.isnan(late[n]):
            expected = z
        else:
            other = (late[n] - present.mean()) / (present.std() or 1)
            expected = (1 - weight) * z + weight * other
        np.testing.assert_allclose(value, expected, atol=1e-9)
