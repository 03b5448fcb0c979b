"""Words of items: their formula, their place in hybrid search, and what explains them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import errors
from store.search.query import Query
from store.tables.lance_tables import Tables
from store.tables.words import COLUMNS, WORDS_TEXT, ItemWords, read_words, write_words
from tests.helpers.made_release import DIM, WORDS, MadeRelease, item_words_of, make_release, unit

ROWS = 300
QUERIES = unit(np.random.default_rng(9), 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("words"), ROWS, item_words=True)


@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 30))
def test_the_best_words_have_the_largest_corrected_cosines(
    seed: int, count: int, known: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"w{chr(97 + n)}" for n in range(known)]
    bias = rng.normal(size=known).astype(np.float32)
    words = ItemWords(names, unit(rng, known), {"image": bias}, count, "")
    items = unit(rng, 7)
    numbers, weights = words.best("image", items)
    assert numbers.shape == weights.shape == (7, min(count, known))
    for item, own, weight in zip(items, numbers, weights, strict=True):
        scores = np.array([item @ v - b for v, b in zip(words.vectors, bias, strict=True)])
        best = np.sort(scores)[::-1]
        np.testing.assert_allclose(scores[own], best[: len(own)], atol=1e-5)
        least = best[min(count, known - 1)]
        spread = max(best[0] - least, 1e-12)
        np.testing.assert_allclose(weight, (best[: len(own)] - least) / spread, atol=1e-3)
    columns = words.columns("image", items)
    for own, weight, listed, text in zip(
        numbers, weights, columns["words"].to_pylist(), columns[WORDS_TEXT].to_pylist(), strict=True
    ):
        assert [each["word"] for each in listed] == [names[n] for n in own]
        times = [1 + round(3 * float(w)) for w in weight]
        assert sorted(text.split()) == sorted(
            names[n] for n, t in zip(own, times, strict=True) for _ in range(t)
        )
    nulls = words.columns("text", items)
    assert {name: array.null_count for name, array in nulls.items()} == {c.name: 7 for c in COLUMNS}


def test_stored_words_are_read_as_they_were(tmp_path: Path) -> None:
    tables, words = Tables(tmp_path), item_words_of()._replace(key="key")
    assert read_words(tables, "made") is None
    write_words(tables, "made", words)
    stored = read_words(tables, "made")
    assert stored is not None
    assert (list(stored.words), stored.per_item, stored.key) == (WORDS, 3, "key")
    np.testing.assert_allclose(stored.vectors, words.vectors)
    np.testing.assert_allclose(stored.biases["image"], words.biases["image"], rtol=1e-6)


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal for equal scores; rows without a score have none (infinity)."""
    found = np.isfinite(scores)
    ranks = np.full(len(scores), np.inf)
    ranks[found] = [1 + (scores > score).sum() for score in scores[found]]
    return ranks


@settings(max_examples=30)
@given(st.data())
def test_three_lists_are_fused_by_their_ranks(made: MadeRelease, data: st.DataObject) -> None:
    vector = QUERIES[data.draw(st.integers(0, 19))]
    text = " ".join(
        data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True))
    )
    weight, limit = data.draw(st.floats(0.01, 1)), data.draw(st.integers(1, 130))
    words = data.draw(st.sampled_from([True, False, None]))  # None: the release adopted them
    own, opened = made.galleries["image"], made.corpus.open_gallery("image")
    parts = [f"image-{n:032x}" for n in own.samples]
    search = made.corpus.search(vectors={"text": vector}).hybrid(text, weight, words)
    result = search.limit(limit).run()

    def lists(column: str) -> np.ndarray:
        rows = opened.match_text(text, 20_000, None, column).to_pylist()
        found = {row["part_id"]: row["_score"] for row in rows}
        return ranks(np.array([found.get(part, -np.inf) for part in parts]))

    by_vector = ranks(own.scores("text", vector))
    by_vector[by_vector > (100 if limit <= 100 else 1_000)] = np.inf
    by_text = [lists("caption")] + ([] if words is False else [lists(WORDS_TEXT)])
    fused = (1 - weight) / (60 + by_vector) + sum(weight / (60 + each) for each in by_text)
    best = np.sort(fused[np.isfinite(np.minimum(by_vector, np.min(by_text, axis=0)))])[::-1]
    assert result.complete
    np.testing.assert_allclose(result.rows["_fused"], best[:limit], rtol=1e-9)
    numbers = [int(each, 16) for each in result.rows["id"].to_pylist()]
    positions = np.searchsorted(own.samples, numbers)
    np.testing.assert_allclose(result.rows["_fused"], fused[positions], rtol=1e-9)


def test_words_can_be_selected_and_are_explained(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).hybrid("lamp", words=True)
    (hit,) = search.select("words").limit(1).run()
    words = hit.explain().words
    assert [(w.word, pytest.approx(w.weight)) for w in words] == [
        (each["word"], each["weight"]) for each in hit["words"]
    ]
    assert len(words) == 3
    assert words[0].weight == 1
    assert f"words of the item: {words[0].word} 1.00" in hit.explain()._repr_html_()


def test_words_that_items_do_not_have(tmp_path: Path) -> None:
    plain = make_release(tmp_path, 30)
    search = plain.corpus.search(vectors={"text": [1.0] * DIM})
    assert len(search.hybrid("lamp").to_list()) == 10
    with pytest.raises(errors.InputError, match="items have no words in this release"):
        search.hybrid("lamp", words=True).run()
    with pytest.raises(errors.InputError, match="words must be true, false or null"):
        search.hybrid("lamp", words="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [True, False, None])
def test_the_option_is_written_and_read(words: bool | None) -> None:
    query = Query.of("a lamp").hybrid("lamp", 0.25, words)
    assert Query.from_json(query.to_json()) == query
    assert ("words" in query.to_json()) is (words is not None)
    assert ("words=" in str(query)) is (words is not None)
