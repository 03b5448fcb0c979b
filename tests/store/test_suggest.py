"""Suggested queries on planted clusters, whose right words are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isotrope
from isotrope import all_of, errors
from store.search.caption_words import words_of
from store.search.suggest import LEAST
from tests.helpers.planted_release import Parts, publish, unit_rows

DIM, EACH = 48, 30
WORDS = ("bird", "red", "blue", "green", "nest", "the", "picture")
COLOURS = WORDS[1:4]
AXES = dict(zip(WORDS, np.eye(DIM, dtype=np.float32), strict=False))


def text_vector(text: str) -> np.ndarray:
    """The sum of the vectors of a text's words. Words without a vector share one."""
    rows = [AXES.get(word, np.eye(DIM)[-1]) for word in text.lower().split()]
    return unit_rows(np.sum(rows, axis=0))


def encode(
    _: str, __: Mapping[str, Any], ___: Mapping[str, str], inputs: Mapping[str, Sequence[Any]]
) -> dict[str, np.ndarray]:
    return {modality: np.stack([*map(text_vector, texts)]) for modality, texts in inputs.items()}


def colour_of(number: int) -> str:
    """The colour of the bird in a picture: 30 are red, then 40 blue, then 50 green."""
    return COLOURS[int(np.searchsorted([EACH, 2 * EACH + 10], number, side="right"))]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> isotrope.Corpus:
    """Pictures of birds in three colours, 30, 40 and 50 of them, whose captions name the colour."""
    rng = np.random.default_rng(3)
    colours = [*map(colour_of, range(3 * EACH + 30))]
    images = unit_rows(
        np.stack([AXES["bird"] + AXES[c] for c in colours])
        + 0.08 * rng.normal(size=(len(colours), DIM))
    )
    captions = [f"the picture of a {colour} bird" for colour in colours]
    captions[5] = "<script>" + "red " * 50_000 + "(bird|*[)"
    captions[6] = "\u202e\u05e9\u05dc\u05d5\u05dd \U0001f426"
    bank = unit_rows(rng.normal(size=(40, DIM)))
    corpus = publish(
        tmp_path_factory.mktemp("birds"),
        {"image": Parts(np.arange(len(images)), images)},
        {"text": bank, "image": bank},
        captions=captions,
    )
    return corpus.reopened(encode)


def test_each_cluster_gets_the_word_that_tells_it_apart(birds):
    suggestions = birds.search(text="bird").among("image").suggest(3)
    assert [each.text for each in suggestions] == ["bird green", "bird blue", "bird red"]
    assert [each.rows for each in suggestions] == [EACH + 20, EACH + 10, EACH]
    for each, colour in zip(suggestions, reversed(COLOURS), strict=True):
        assert each.specificity == pytest.approx(1)
        assert each.before < 0.9
        assert each.gain > 0.2
        assert each.similarity == pytest.approx(0.5**0.5, abs=1e-5)
        assert 0.8 < each.representativeness <= 1
        assert 1 <= len(each.ids) <= 4
        for sample in each.ids:
            assert colour == colour_of(int(sample, 16))


def test_a_word_that_contradicts_a_cluster_is_replaced(birds):
    query = birds.search(text="Red bird").among("image").where("caption NOT LIKE '%red%'")
    texts = [each.text for each in query.suggest(2)]
    assert texts == ["green bird", "blue bird"]


def test_the_correction_and_the_condition_of_the_query_are_kept(birds):
    query = birds.search(text="bird").among("image").correct("none")
    (only,) = query.where("caption LIKE '%red%' OR caption LIKE '%blue%'").suggest(2)[:1]
    assert only.text == "bird blue"
    assert query.where("caption LIKE '%no such%'").suggest() == []


def test_one_cluster_has_no_suggestion(birds):
    same = birds.search(text="bird").among("image").where("caption LIKE '%green%'").limit(1)
    assert same.suggest(1) == []


def test_queries_without_a_text_in_one_gallery_are_refused(birds):
    vector = {"text": text_vector("bird")}
    for query, reason in (
        (birds.search(vectors=vector).among("image"), "has none"),
        (birds.search(text=["bird", "nest"]).among("image"), "one query"),
        (birds.search(text="bird").among("any"), "one gallery"),
        (all_of(birds.search(text="bird"), birds.search(text="nest")), "compound"),
    ):
        with pytest.raises(errors.InputError, match=reason):
            birds.suggest(query)
    for count in (0, 21):
        with pytest.raises(errors.InputError, match="1 to 20"):
            birds.search(text="bird").among("image").suggest(count)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_suggestion_gains_and_is_no_worse_than_one_more_word(birds, seed, count):
    rng = np.random.default_rng(seed)
    text = " ".join(rng.choice(WORDS, rng.integers(1, 4)))
    suggestions = birds.search(text=text).among("image").suggest(count)
    assert len({each.text for each in suggestions}) == len(suggestions) <= count
    for each in suggestions:
        assert each.gain > 0
        assert each.rows >= LEAST
        assert 0 < each.specificity <= 1
        assert each.similarity == pytest.approx(
            float(text_vector(each.text) @ text_vector(text)), abs=1e-5
        )
        changed = set(each.text.split()) ^ set(text.split())
        assert 1 <= len(changed) <= 2


def test_words_are_bounded():
    assert words_of("The RED-bird, 3 of 12; caf\u00e9 s\u00fc\u00df 123") == {
        "the", "red", "bird", "caf\u00e9", "s\u00fc\u00df",
    }  # fmt: skip
    assert words_of("a" * 5_000) <= {"a" * 30, "a" * 10}
    assert (
        len(words_of(" ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(500))))
        < 200
    )
