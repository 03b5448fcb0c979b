"""Near-duplicate texts against plain references, and planted copies."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.minhash import measure
from benchmarks.planted_texts import filled, planted, reordered, typo
from pipelines.duplicates.pair_joins import Pairs
from pipelines.duplicates.texts import minhash
from pipelines.duplicates.texts.shingles import (
    count_shared,
    normalise_texts,
    shingle,
    shingle_sets,
)
from pipelines.duplicates.texts.spelling import split_words
from pipelines.duplicates.texts.templates import same_template

seeds = st.integers(0, 2**31)


def listed(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), min_size=2, max_size=8))
def test_shared_shingles_are_those_of_sets(texts: list[str]) -> None:
    folded = normalise_texts(texts)
    assert len(folded) == len(texts)
    plain = [
        {f" {w} "[i : i + 3] for w in t.split(" ") if w for i in range(len(w))} for t in folded
    ]
    x, y = np.triu_indices(len(texts))
    expected = [len(plain[a] & plain[b]) for a, b in zip(x, y, strict=True)]
    assert count_shared(shingle_sets(shingle(folded)), x, y).tolist() == expected


def test_texts_are_compared_as_they_read() -> None:
    texts = ["A photo\tof Straße & CAFE\u0301!", "a photo of strasse café", "x", "x", ""]
    assert normalise_texts(texts)[0] == normalise_texts(texts)[1]
    signed = minhash.signatures(texts)
    assert listed(minhash.pairs(signed, lambda rows: [texts[r] for r in rows], 0.7)) == [(0, 1)]


@pytest.mark.parametrize(
    ("one", "other", "copies"),
    [
        ("plan a", "plan b", False),
        ("house", "huose", True),
        ("cat", "ca", True),
        ("cat", "dog", False),
        ("tench", "cauliflower", False),
        ("12", "13", False),
        ("horse cart", "horse", True),
    ],
)
def test_a_template_with_another_subject_is_no_copy(one: str, other: str, copies: bool) -> None:
    text = "high quality stock photo of a {} on a white background isolated for download"
    texts = [text.format(one), text.format(other)]
    found = minhash.pairs(minhash.signatures(texts), lambda rows: [texts[r] for r in rows], 0.7)
    assert len(found) == copies


def one_edit(one: str, other: str) -> bool:
    """A letter more, less or another, or two neighbours swapped."""
    if any(map(str.isdigit, one + other)) or 1 == len(one) == len(other):
        return False
    less = [(one[:i] + one[i + 1 :], i, c) for i, c in enumerate(one)]
    there = [(other[:i] + other[i + 1 :], i, c) for i, c in enumerate(other)]
    return (
        any(w == other for w, _, _ in less)
        or any(w == one for w, _, _ in there)
        or any(w == v and (i == j) for w, i, _ in less for v, j, _ in there)
        or any(one[:i] + one[i : i + 2][::-1] + one[i + 2 :] == other for i in range(len(one) - 1))
    )


def is_template(one: str, other: str) -> bool:
    a, b = (Counter(text.split()) for text in normalise_texts([one, other]))
    mine, theirs = a - b, b - a
    if not mine or not theirs:
        return False
    few, many = sorted((a, b), key=Counter.total)
    if a.total() != b.total():
        less, more = (Counter("".join(words.elements())) for words in (few, many))
        if not more - less and (less - more).total() <= 1:
            return False  # run together, a letter maybe in the space's place
    return not (
        all(any(one_edit(w, v) for v in theirs) for w in mine)
        and all(any(one_edit(w, v) for w in mine) for v in theirs)
    )


_WORDS = ["cat", "ca", "act", "car", "c", "dog", "12", "13", "dogcat", "catodg", "straße", "çat"]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=6), min_size=2, max_size=9))
def test_templates_are_those_of_the_words_of_one_side_only(said: list[list[str]]) -> None:
    texts = [" ".join(t) for t in said]
    x, y = (side.ravel() for side in np.indices((len(texts), len(texts))))
    found = same_template(split_words(normalise_texts(texts)), x, y)
    expected = [is_template(texts[a], texts[b]) for a, b in zip(x, y, strict=True)]
    assert found.tolist() == expected


def by_pair(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    """Near texts by a look at each pair alone."""
    signed, rows = minhash.signatures(texts), minhash.rows_a_band(threshold)
    least = minhash.least_equal(threshold)
    sets = [
        {f" {w} "[i : i + 3] for w in t.split() for i in range(len(w))}
        for t in normalise_texts(texts)
    ]
    out = {}
    for a, b in itertools.combinations(range(len(texts)), 2):
        agree = signed[a] == signed[b]
        meet = any(agree[i : i + rows].all() for i in range(0, len(agree) - rows + 1, rows))
        if meet and agree.sum() >= least and not is_template(texts[a], texts[b]):
            similarity = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
            if np.float32(similarity) >= threshold:
                out[a, b] = pytest.approx(similarity)
    return out


@settings(max_examples=4)
@given(seeds, st.integers(0, 6), st.integers(0, 74))
def test_crowds_are_compared_as_if_each_were_with_each(seed: int, most: int, first: int) -> None:
    rng = np.random.default_rng(seed)
    ways = ["photo of {} and {} on a white background", "the new {} at the {} price with shipping"]
    texts = []
    for _ in range(50):
        said = [" ".join(rng.choice(_WORDS, rng.integers(1, 4))) for _ in range(2)]
        texts.append(ways[rng.integers(2)].format(*said))
    texts += [(typo, reordered)[i % 2](texts[i], rng) for i in range(24)]
    signed = minhash.signatures(texts)

    def found(order: np.ndarray, crowd: int, first: int = 0) -> dict[tuple[int, int], float]:
        """Pairs of texts in this order, by their places before it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(minhash, "LARGE_BUCKET", crowd)
            pairs = minhash.pairs(
                signed[order], lambda rows: [texts[r] for r in order[rows]], 0.6, first
            )
        assert (pairs.b >= first).all()
        sides = np.sort(np.stack([order[pairs.a], order[pairs.b]]), axis=0).T.tolist()
        return {(a, b): s for (a, b), s in zip(sides, pairs.similarity.tolist(), strict=True)}

    order = np.arange(len(texts))
    whole = by_pair(texts, 0.6)
    assert found(order, len(texts)) == whole
    assert found(order, most) == whole
    assert found(rng.permutation(len(texts)), most) == whole
    assert found(order[:first], most) | found(order, most, first) == whole


def test_planted_texts_are_found_and_templates_are_not() -> None:
    given = planted(3000, seed=1)
    texts = given.texts
    signed = minhash.signatures(texts)

    def read(rows: np.ndarray) -> list[str]:
        return [texts[r] for r in rows]

    found = minhash.pairs(signed, read, 0.7)
    recall, precision = measure(set(listed(found)), given)
    assert recall >= 0.99
    assert precision >= 0.99
    some = minhash.pairs(signed, read, 0.7, 2000)
    assert listed(some) == [p for p in listed(found) if p[1] >= 2000]


def test_a_template_has_few_candidates() -> None:
    texts = filled(8000, np.random.default_rng(0))
    signed = minhash.signatures(texts)
    read: list[int] = []

    def reader(rows: np.ndarray) -> list[str]:
        read.extend(rows.tolist())
        return [texts[r] for r in rows]

    near = minhash.pairs(signed, reader, 0.7)
    assert len(near) < 100
    # Four million pairs agree in their signatures; each text is read once, and for few pairs more.
    assert len(read) < 5 * len(texts)
