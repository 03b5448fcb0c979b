"""Figures by language: which translations are used as queries, and how ranks are summarised."""

import json
from pathlib import Path

import numpy as np
import pytest

from embedders.corpus_space import corpus_space
from embedders.spaces import Space
from pipelines.release import translation_vectors
from pipelines.release.languages import (
    MOST_LANGUAGES,
    _languages,
    compare_languages,
    language_queries,
    read_translated,
)
from store.corrections import evaluate, fit
from store.errors import RecordError
from store.tables import releases
from store.tables.banks import Banks
from store.tables.lance_tables import Tables
from store.workspace import Workspace
from tests.helpers.corpus import ColourText


class NoEmptyText(ColourText):
    fingerprint = "no-empty-text@1"

    def prepare(self, raw: str) -> str:
        if not raw:
            raise RecordError("text.empty", "the text is empty")
        return raw


def test_each_language_is_used_once_and_the_own_language_never():
    captions = [
        {"de": "x", "pt": "x", "en_GB": "x"},
        {"de": "x", "pt_BR": "x"},
        {"pt": "x", "zz": "x"},
    ]
    assert _languages(captions, "en") == ["de", "pt", "zz"]
    many = [{f"l{chr(97 + i)}": "x" for i in range(26)}]
    assert _languages(many, "en") == sorted(many[0])[:MOST_LANGUAGES]


def test_ranks_by_language_agree_with_plain_loops():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(30, 6)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    c = fit("none", gallery=gallery, query_bank=gallery, gallery_bank=gallery)
    translated = {
        code: {f"p{i}": gallery[i] + noise * rng.normal(size=6).astype(np.float32) for i in rows}
        for code, noise, rows in (("en", 0.1, range(8)), ("de", 1.0, range(6)), ("xx", 1, (9,)))
    }
    answers = {f"p{i}": [i, i + 10] for i in range(7)}  # p7 has none, p9 is not among the texts
    queries = language_queries(translated, answers)
    assert queries is not None
    first = evaluate(c, queries.vectors, queries.answers).first
    figures = compare_languages(queries, {"raw": first}, len(gallery))
    assert figures["queries"] == {"en": 7, "de": 6}
    ranks = {
        code: [
            min(np.argsort(-(gallery @ v)).tolist().index(a) + 1 for a in answers[p])
            for p, v in translated[code].items()
            if p in answers
        ]
        for code in ("en", "de")
    }
    both = np.array([ranks["en"][:6], ranks["de"]])
    assert figures["raw"]["mean_rank_variance"] == pytest.approx(np.var(both, axis=0).mean())
    for code, values in ranks.items():
        assert figures["raw"]["r@10"][code] == pytest.approx(np.mean(np.array(values) <= 10))
        assert figures["raw"]["median_rank"][code] == np.median(values)
    assert language_queries({"en": translated["en"]}, answers) is None
    assert language_queries({}, answers) is None


@pytest.fixture
def banks(squares: Workspace) -> Banks:
    return Banks(squares.tables.open("banks__colours").to_table())


def test_captions_come_from_the_meta_of_the_test_samples(squares: Workspace, banks: Banks):
    translated = read_translated(squares.tables, banks, corpus_space(squares))
    assert list(translated) == ["en", "de", "pt_BR"]  # pt_BR has more captions than pt
    assert len(translated["en"]) == len(translated["de"]) > len(translated["pt_BR"]) > 50
    rows = squares.tables.open("samples").to_table(columns=["text_id", "text", "meta"]).to_pylist()
    by_text = {row["text_id"]: row for row in rows if row["meta"]}
    encoder = ColourText()
    for part, vector in list(translated["de"].items())[:5]:
        text = json.loads(by_text[part]["meta"])["captions"]["de"]
        np.testing.assert_allclose(vector, encoder.encode([text])[0], atol=1e-6)
        own = encoder.encode([by_text[part]["text"]])[0]
        np.testing.assert_allclose(translated["en"][part], own, atol=1e-6)
    test_parts = set(banks.part("test", "text")[2])
    assert all(set(vectors) <= test_parts for vectors in translated.values())


def test_the_vectors_of_the_last_release_are_used_again(
    squares: Workspace, banks: Banks, monkeypatch: pytest.MonkeyPatch
):
    version = squares.tables.version("translations__colours")  # of the release of the corpus
    monkeypatch.setattr(translation_vectors, "encode_texts", None)
    translated = read_translated(squares.tables, banks, corpus_space(squares))
    assert len(translated["de"]) > 50
    assert squares.tables.version("translations__colours") == version


def test_new_and_rejected_translations_are_stored_once(tmp_path: Path):
    tables, space = Tables(tmp_path), Space("colours", {"text": f"python:{__name__}:NoEmptyText"})
    first = translation_vectors.translation_vectors(tables, space, [("a", "red"), ("b", "")])
    assert set(first) == {"red"}  # the encoder rejects an empty text
    second = translation_vectors.translation_vectors(
        tables, space, [("a", "red"), ("b", ""), ("c", "blue")]
    )
    assert set(second) == {"red", "blue"}
    np.testing.assert_array_equal(first["red"], second["red"])
    version = tables.version("translations__colours")
    rows = tables.open("translations__colours").to_table().to_pylist()
    assert [(row["id"], row["vector"] is None) for row in rows] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    translation_vectors.translation_vectors(tables, space, [("a", "red"), ("c", "blue")])
    assert tables.version("translations__colours") > version
    assert tables.open("translations__colours").count_rows() == 2


def test_a_release_has_figures_by_language(squares: Workspace):
    evaluation = releases.latest_release(squares.tables).evaluation
    figures = evaluation["text->image"]["languages"]
    assert "languages" not in evaluation["image->text"]
    assert set(figures["queries"]) == {"en", "de", "pt_BR"}
    assert figures["raw"]["mean_rank_variance"] > 0
    scores = figures["raw"]["r@10"]
    assert scores["en"] == evaluation["text->image"]["raw"]["r@10"]
    assert scores["de"] < 0.3 < 0.7 < scores["pt_BR"]
