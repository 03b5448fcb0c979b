"""Hybrid search gives what fusing both full lists gives, and hostile texts do no harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import errors
from store.config.index import Index
from store.search import hybrid
from store.search.query import Query
from tests.helpers.made_release import DIM, WORDS, MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(9), 20)
ROWS = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    """A release without indexes: captions are scanned."""
    return make_release(tmp_path_factory.mktemp("flat"), ROWS)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    """The same galleries with an index of captions."""
    return make_release(tmp_path_factory.mktemp("indexed"), ROWS, Index(type="flat"))


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal for equal scores; rows without a score have none (infinity)."""
    found = np.isfinite(scores)
    ranks = np.full(len(scores), np.inf)
    ranks[found] = [1 + (scores > score).sum() for score in scores[found]]
    return ranks


def text_scores(made: MadeRelease, gallery: str, words: str, where: str | None) -> np.ndarray:
    """BM25 by Lance for all items, minus infinity where nothing matches."""
    opened = made.corpus.open_gallery(gallery)
    rows = opened.match_text(words, 20_000, where).to_pylist()
    found = {row["part_id"]: row["_score"] for row in rows}
    parts = [f"{gallery}-{n:032x}" for n in made.galleries[gallery].samples]
    return np.array([found.get(part, -np.inf) for part in parts])


@settings(max_examples=40)
@given(st.data())
def test_both_lists_are_fused_by_their_ranks(made: MadeRelease, data: st.DataObject) -> None:
    gallery = data.draw(st.sampled_from(["image", "text"]))
    modality = data.draw(st.sampled_from(["image", "text"]))
    vector = QUERIES[data.draw(st.integers(0, 19))]
    words = " ".join(
        data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True))
    )
    weight = data.draw(st.floats(0.01, 1))
    limit, offset = data.draw(st.integers(1, 130)), data.draw(st.integers(0, 30))
    bound = data.draw(st.none() | st.integers(0, ROWS))
    where = None if bound is None else f"image_width < {bound}"
    search = made.corpus.search(vectors={modality: vector}).among(gallery)
    search = search.hybrid(words, weight).limit(limit).offset(offset)
    result = (search if where is None else search.where(where)).run()

    own = made.galleries[gallery]
    admitted = own.samples < (ROWS if bound is None else bound)
    score = own.scores(modality, vector, admitted)
    score = np.where(admitted, score, -np.inf)
    window = 100 if limit + offset <= 100 else 1_000
    vector_ranks = ranks(score)
    vector_ranks[vector_ranks > window] = np.inf
    text_ranks = ranks(text_scores(made, gallery, words, where))
    fused = (1 - weight) / (60 + vector_ranks) + weight / (60 + text_ranks)
    listed = np.isfinite(vector_ranks) | np.isfinite(text_ranks)
    best = np.sort(fused[listed])[::-1][offset : offset + limit]
    assert result.complete
    np.testing.assert_allclose(result.rows["_fused"], best, rtol=1e-9)
    numbers = [int(each, 16) for each in result.rows["id"].to_pylist()]
    positions = np.searchsorted(own.samples, numbers)
    np.testing.assert_allclose(result.rows["_fused"], fused[positions], rtol=1e-9)
    np.testing.assert_allclose(result.rows["_score"], score[positions], atol=2e-5)
    assert [r is None for r in result.rows["_text_score"].to_pylist()] == [
        not set(words.split()) & set((own.captions[p] or "").split()) for p in positions
    ]


def test_an_index_of_captions_gives_the_same_matches(
    made: MadeRelease, indexed: MadeRelease
) -> None:
    for words in ("zebra", "zebra lamp", "river stone cloud"):
        for where in (None, "image_width < 200"):
            flat, found = (text_scores(m, "image", words, where) for m in (made, indexed))
            assert (np.isfinite(flat) == np.isfinite(found)).all()
            assert np.isfinite(found).any()
    result = indexed.corpus.search(vectors={"text": QUERIES[0]}).hybrid("zebra").run()
    assert result.complete
    assert result.rows["_text_score"].null_count == 0


def test_one_list_over_all_galleries(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[3]}).among("any").limit(50)
    rows = search.hybrid("violin", 0.3).to_list()
    assert {row["modality"] for row in rows} == {"image", "text"}
    assert (np.diff([row["_fused"] for row in rows]) <= 0).all()
    calibrated = [row["_calibrated"] for row in search.limit(100).to_list()]
    matches = np.concatenate([text_scores(made, m, "violin", None) for m in ("image", "text")])
    for row in rows:
        in_vectors = [n + 1 for n, c in enumerate(calibrated) if c == row["_calibrated"]]
        expected = 0.7 / (60 + in_vectors[0]) if in_vectors else 0
        if row["_text_score"] is not None:
            expected += 0.3 / (61 + (matches > row["_text_score"]).sum())
        assert row["_fused"] == pytest.approx(expected, rel=1e-9)


def test_other_words_work_with_hybrid(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[3]}).hybrid("lamp").limit(15)
    rows = search.to_list()
    bound = rows[7]["_fused"]
    above = [r["id"] for r in rows if r["_fused"] >= bound]
    assert [r["id"] for r in search.range(bound).to_list()] == above
    deduplicated = search.dedup(0.9).limit(30).run()
    assert deduplicated.rows.num_rows == 30
    assert not search.diverse(0.5).run().complete
    own = [rows[0]["id"], rows[1]["id"]]
    more = made.corpus.search(ids=own).hybrid("lamp").limit(400).to_list()
    assert not {r["id"] for r in more} & set(own)
    assert search.run().explain(0).rank == 1
    with pytest.raises(errors.InputError, match="rescores"):
        search.correct("csls").run()
    with pytest.raises(errors.InputError, match="needs a text"):
        search.hybrid().run()


def test_every_query_of_a_batch_uses_its_own_text() -> None:
    query = Query.of(text=["a zebra", "the lamp"]).hybrid(weight=0.2)
    assert query.full_text is not None
    assert [query.full_text.words([i]) for i in query.inputs] == ["a zebra", "the lamp"]
    assert Query.from_json(query.to_json()) == query
    assert str(query).endswith("hybrid(weight=0.2)")


HOSTILE = [
    "zebra AND (lamp OR", '"zebra', "zebra*", "caption:zebra", "\\", "^~2", "\x00zebra", "\ud800",
    "", "!!!", "+" * 5_000, "z" * 50_000, "日本語 縞馬", "' OR 1=1; --", "zebra " * 10_000, "%_",
    "[1 TO 2]", "{", "🦓" * 500, "NOT", "-zebra", "zebra^1e999", "/.*/",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_only_words(made: MadeRelease, indexed: MadeRelease, text: str) -> None:
    for corpus in (made.corpus, indexed.corpus):
        result = corpus.search(vectors={"text": np.ones(DIM)}).hybrid(text).run()
        assert result.rows.num_rows == 10
        if "zebra" in text:
            assert result.rows["_text_score"].null_count < 10


@pytest.mark.parametrize(
    ("text", "weight"),
    [(3, 0.5), ("x", 0), ("x", 1.5), ("x", float("nan")), ("x", "1"), ("x" * 200_000, 0.5),
     (" ".join(f"w{n}" for n in range(65)), 0.5)],
)  # fmt: skip
def test_wrong_arguments_are_typed_errors(text, weight) -> None:
    with pytest.raises(errors.InputError):
        Query.of(text="a").hybrid(text, weight)


def test_a_list_that_was_cut_is_not_complete(
    made: MadeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[2]}).hybrid("zebra", 0.9).limit(20)
    assert search.run().complete
    monkeypatch.setattr(hybrid, "_MOST_TIED", -10)
    assert not search.run().complete
    monkeypatch.setattr(hybrid, "_MOST_MATCHES", 5)
    result = search.run()
    assert not result.complete
    assert "more than 5 captions match" in result.notes[0]
