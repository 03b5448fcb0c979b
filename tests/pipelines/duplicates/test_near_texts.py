"""Near-duplicate texts: against naive references, and on planted copies."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.minhash import measure
from benchmarks.planted_texts import filled, planted, reordered, typo
from pipelines.duplicates.pair_joins import Pairs, Rows, collect_pairs
from pipelines.duplicates.texts import buckets, minhash, near_texts
from pipelines.duplicates.texts.shingles import (
    count_shared,
    normalise_texts,
    shingle,
    shingle_sets,
)
from pipelines.duplicates.texts.spelling import split_words
from pipelines.duplicates.texts.templates import same_template
from pipelines.engine.duckdb_scratch import database

seeds = st.integers(0, 2**31)


def near(
    signed: Rows, read: Callable[[np.ndarray], list[str]], threshold: float, first: int = 0
) -> Pairs:
    with TemporaryDirectory() as name, database(Path(name)) as connection:
        blocks = near_texts.near_blocks(connection, Path(name), signed, read, threshold, first)
        return collect_pairs(blocks, len(signed))


def as_list(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), min_size=2, max_size=8))
def test_shared_shingles_are_counted_as_by_python_sets(texts: list[str]) -> None:
    normalised = normalise_texts(texts)
    assert len(normalised) == len(texts)
    sets = [
        {f" {w} "[i : i + 3] for w in t.split(" ") if w for i in range(len(w))} for t in normalised
    ]
    x, y = np.triu_indices(len(texts))
    expected = [len(sets[a] & sets[b]) for a, b in zip(x, y, strict=True)]
    assert count_shared(shingle_sets(shingle(normalised)), x, y).tolist() == expected


def test_case_punctuation_and_unicode_forms_are_ignored() -> None:
    texts = ["A photo\tof Straße & CAFE\u0301!", "a photo of strasse café", "x", "x", ""]
    assert normalise_texts(texts)[0] == normalise_texts(texts)[1]
    signed = minhash.signatures(texts)
    assert as_list(near(signed, lambda rows: [texts[r] for r in rows], 0.7)) == [(0, 1)]


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
def test_a_template_with_another_subject_is_not_a_copy(one: str, other: str, copies: bool) -> None:
    text = "high quality stock photo of a {} on a white background isolated for download"
    texts = [text.format(one), text.format(other)]
    pairs = near(minhash.signatures(texts), lambda rows: [texts[r] for r in rows], 0.7)
    assert len(pairs) == copies


def one_edit(one: str, other: str) -> bool:
    """Whether two words differ by one letter more, less or different, or by two swapped ones."""
    if any(map(str.isdigit, one + other)) or 1 == len(one) == len(other):
        return False
    less = [(one[:i] + one[i + 1 :], i, c) for i, c in enumerate(one)]
    less_other = [(other[:i] + other[i + 1 :], i, c) for i, c in enumerate(other)]
    return (
        any(w == other for w, _, _ in less)
        or any(w == one for w, _, _ in less_other)
        or any(w == v and (i == j) for w, i, _ in less for v, j, _ in less_other)
        or any(one[:i] + one[i : i + 2][::-1] + one[i + 2 :] == other for i in range(len(one) - 1))
    )


def is_template(one: str, other: str) -> bool:
    a, b = (Counter(text.split()) for text in normalise_texts([one, other]))
    only_a, only_b = a - b, b - a
    if not only_a or not only_b:
        return False
    few, many = sorted((a, b), key=Counter.total)
    if a.total() != b.total():
        less, more = (Counter("".join(words.elements())) for words in (few, many))
        if not more - less and (less - more).total() <= 1:
            return False  # words were joined, possibly with a letter in place of the space
    return not (
        all(any(one_edit(w, v) for v in only_b) for w in only_a)
        and all(any(one_edit(w, v) for w in only_a) for v in only_b)
    )


_WORDS = ["cat", "ca", "act", "car", "c", "dog", "12", "13", "dogcat", "catodg", "straße", "çat"]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(_WORDS), min_size=1, max_size=6), min_size=2, max_size=9))
def test_templates_agree_with_the_reference(word_lists: list[list[str]]) -> None:
    texts = [" ".join(t) for t in word_lists]
    x, y = (side.ravel() for side in np.indices((len(texts), len(texts))))
    result = same_template(split_words(normalise_texts(texts)), x, y)
    expected = [is_template(texts[a], texts[b]) for a, b in zip(x, y, strict=True)]
    assert result.tolist() == expected


def near_pairs_by_loop(texts: list[str], threshold: float) -> dict[tuple[int, int], float]:
    """The near-duplicates and their similarity, by a loop over all pairs."""
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
def test_large_buckets_give_the_pairs_of_a_full_comparison(
    seed: int, most: int, first: int
) -> None:
    rng = np.random.default_rng(seed)
    templates = [
        "photo of {} and {} on a white background",
        "the new {} at the {} price with shipping",
    ]
    texts = []
    for _ in range(50):
        subjects = [" ".join(rng.choice(_WORDS, rng.integers(1, 4))) for _ in range(2)]
        texts.append(templates[rng.integers(2)].format(*subjects))
    texts += [(typo, reordered)[i % 2](texts[i], rng) for i in range(24)]
    signed = minhash.signatures(texts)

    def near_pairs(order: np.ndarray, bucket: int, first: int = 0) -> dict[tuple[int, int], float]:
        """The near-duplicates of the texts in another order, by their indices in `texts`."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(buckets, "LARGE_BUCKET", bucket)
            pairs = near(signed[order], lambda rows: [texts[r] for r in order[rows]], 0.6, first)
        assert (pairs.b >= first).all()
        sides = np.sort(np.stack([order[pairs.a], order[pairs.b]]), axis=0).T.tolist()
        return {(a, b): s for (a, b), s in zip(sides, pairs.similarity.tolist(), strict=True)}

    order = np.arange(len(texts))
    expected = near_pairs_by_loop(texts, 0.6)
    assert near_pairs(order, len(texts)) == expected
    assert near_pairs(order, most) == expected
    assert near_pairs(rng.permutation(len(texts)), most) == expected
    assert near_pairs(order[:first], most) | near_pairs(order, most, first) == expected


def test_planted_texts_are_found_and_templates_are_not() -> None:
    corpus = planted(3000, seed=1)
    texts = corpus.texts
    signed = minhash.signatures(texts)

    def read(rows: np.ndarray) -> list[str]:
        return [texts[r] for r in rows]

    pairs = near(signed, read, 0.7)
    recall, precision = measure(set(as_list(pairs)), corpus)
    assert recall >= 0.99
    assert precision >= 0.99
    new = near(signed, read, 0.7, 2000)
    assert as_list(new) == [p for p in as_list(pairs) if p[1] >= 2000]


def test_a_template_has_few_candidates() -> None:
    texts = filled(8000, np.random.default_rng(0))
    signed = minhash.signatures(texts)
    rows_read: list[int] = []

    def reader(rows: np.ndarray) -> list[str]:
        rows_read.extend(rows.tolist())
        return [texts[r] for r in rows]

    assert len(near(signed, reader, 0.7)) < 100
    # Four million pairs have similar signatures. Each text is read once, and again for few pairs.
    assert len(rows_read) < 5 * len(texts)
