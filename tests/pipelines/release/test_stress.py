"""The stress evaluation finds encoders that do not see the order of words, and costs of damage."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import isotrope
from pipelines.release import damaged_inputs as damaged
from pipelines.release.query_samples import reciprocal
from pipelines.release.stress import CHANCE, composition, stress
from store.errors import EncoderError
from store.workspace import Workspace

SUBJECTS, VERBS, OBJECTS = (
    ("dog", "cat", "girl", "horse"),
    ("bites", "sees", "hears"),
    ("man", "fox"),
)
TEXTS = [f"the {a} {v} the {b}" for a in SUBJECTS for v in VERBS for b in OBJECTS]
TEXTS += [f"the {b} {v} the {a}" for a in SUBJECTS for v in VERBS for b in OBJECTS]


def word_vector(word: str, position: int = 0) -> np.ndarray:
    return np.random.default_rng([*word.encode(), position]).normal(size=64)


def bag_of_words(texts: list[Any]) -> np.ndarray:
    rows = np.stack([sum(word_vector(w) for w in sorted(text.split())) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ordered_words(texts: list[Any]) -> np.ndarray:
    rows = np.stack([sum(word_vector(w, n) for n, w in enumerate(text.split())) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_bag_of_words_fails_and_an_encoder_of_their_order_passes() -> None:
    noise = 0.02 * np.random.default_rng(1).normal(size=(len(TEXTS), 64))
    clusters = np.arange(len(TEXTS))
    for encode, passes in ((bag_of_words, False), (ordered_words, True)):
        partners = encode(TEXTS) + noise
        rng = np.random.default_rng(0)
        figures = composition(encode, TEXTS, partners, clusters, rng)
        assert figures["swapped"]["passes"] is passes
        assert figures["swapped"]["texts"] == figures["samples"] == len(TEXTS)
        assert figures["inserted"]["passes"] is True  # a foreign word is in no bag
        if not passes:
            swapped = figures["swapped"]
            assert swapped["mean"] == swapped["low"] == swapped["high"] == CHANCE
        else:
            assert figures["swapped"]["mean"] > 0.95


@given(st.text("abcdef, .é'", max_size=60), st.integers(0, 99))
def test_changed_texts(text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    swapped = damaged.swap_words(text, rng)
    if swapped is not None:
        assert swapped != text
        assert sorted(swapped) == sorted(text)
        assert damaged.words_of(swapped) == damaged.words_of(text)
    else:
        assert len(damaged.words_of(text)) < 2
    assert damaged.insert_word(text, "xyz", rng).replace("xyz ", "", 1) == text
    assert sorted(damaged.corrupt_text(text, rng)) == sorted(text)
    assert damaged.drop_words(text) == (" ".join(text.split()[::2]) or text)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 48)])
def test_damaged_images(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(file, "PNG")
    cropped = Image.open(io.BytesIO(damaged.crop_image(file.getvalue())))
    assert cropped.size == tuple(max(1, side - 2 * (side // 4)) for side in size)
    noisy = damaged.corrupt_image(file.getvalue(), np.random.default_rng(0))
    pixels = np.asarray(Image.open(io.BytesIO(noisy)), float)
    assert pixels.shape[:2] == size[::-1]
    assert (pixels != 128).any()


def test_damaged_recordings() -> None:
    file = io.BytesIO()
    tone = 0.2 * np.sin(np.arange(16_000) / 5).astype(np.float32)
    soundfile.write(file, tone, 16_000, format="WAV")
    half, _ = soundfile.read(io.BytesIO(damaged.cut_audio(file.getvalue())))
    np.testing.assert_allclose(half, tone[:8_000], atol=1e-3)
    noisy, _ = soundfile.read(
        io.BytesIO(damaged.corrupt_audio(file.getvalue(), np.random.default_rng(0)))
    )
    ratio = 10 * np.log10(np.mean(tone**2) / np.mean((noisy - tone) ** 2))
    assert ratio == pytest.approx(10, abs=0.2)


def test_ranks_beyond_the_list_count_nothing() -> None:
    values = reciprocal(np.array([1, 4, np.inf, np.nan]))
    np.testing.assert_array_equal(values, [1, 0.25, 0, np.nan])


def test_a_release_under_stress(squares: Workspace) -> None:
    """Squares are encoded by their colour and number; the colour is anywhere in the text."""
    corpus = isotrope.open_corpus(squares.root)
    figures = stress(corpus, samples=40)
    assert figures["samples"] == 40
    whole = corpus.release.evaluation["text->image"]["corrected"]["mrr"]
    damage = figures["damage"]["text->image"]
    assert damage["whole"]["mean"] == pytest.approx(whole, abs=0.25)
    assert damage["dropped"]["high"] <= 0.05
    assert damage["corrupted"]["mean"] < -0.1  # the name of the colour is broken
    assert figures["damage"]["image->text"]["corrupted"]["mean"] < 0
    assert figures["consistency"] == {}  # no sample has three parts
    (name,) = figures["imbalance"]
    assert name == "text->image less image->text" or name == "image->text less text->image"
    corpus.encoders = None
    with pytest.raises(EncoderError):
        stress(corpus)
