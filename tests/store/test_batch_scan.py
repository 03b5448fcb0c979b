"""Queries that are scanned together give what they give one by one."""

from collections.abc import Callable
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.arrow import vector_column
from store.search import batch_scan
from store.search.batch_scan import scan_best
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(13), 12)
WORDS: list[Callable[[Any], Any]] = [
    lambda search: search.correct("none"),
    lambda search: search.where("image_width < 90"),
    lambda search: search.where("image_width > 9999"),
    lambda search: search.dedup(0.9),
    lambda search: search.hybrid("zebra lamp", 0.4),
    lambda search: search.select("key", "part_id", "drops"),
    lambda search: search.range(0.1),
    lambda search: search.offset(7),
    lambda search: search.diverse(0.6),
    lambda search: search.correct("csls"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("batch"), 400)


@settings(max_examples=40)
@given(st.data())
def test_a_batch_gives_what_its_queries_give_one_by_one(
    made: MadeRelease, data: st.DataObject
) -> None:
    numbers = data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=6))
    modalities = data.draw(st.sampled_from([["text"], ["image"], ["text", "image"]]))
    level = data.draw(st.sampled_from(["image", "text", "any", "sample"]))
    words = data.draw(st.lists(st.sampled_from(WORDS), max_size=2, unique=True))
    if WORDS[4] in words and WORDS[9] in words:
        words = []
    limit = data.draw(st.integers(1, 60))

    def run(chosen: Any) -> Any:
        vectors = dict.fromkeys(modalities, QUERIES[chosen])
        search = made.corpus.search(vectors=vectors).among(level).limit(limit)
        for word in words:
            search = word(search)
        return search.run()

    batch = run(numbers)
    rows = batch.rows.to_pylist()
    for position, number in enumerate(numbers):
        single = run(number)
        assert batch.rows.column_names[1:] == single.rows.column_names
        mine = [row for row in rows if row["query"] == position]
        assert [row["id"] for row in mine] == single.rows["id"].to_pylist()
        for name in ("_score", "_raw_score", "_bias"):
            expected = single.rows[name].to_pylist()
            np.testing.assert_allclose([row[name] for row in mine], expected, atol=2e-5)
    assert batch.complete == all(run(number).complete for number in numbers)


@pytest.mark.parametrize("method", ["csls", "nnn", "inverted_softmax"])
def test_a_correction_of_no_rows_gives_none(made: MadeRelease, method: str) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("image")
    result = search.correct(method).where("image_width > 9999").run()
    assert result.rows.num_rows == 0


@settings(max_examples=50)
@given(st.data())
def test_a_scan_finds_the_best_rows_of_each_query(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, queries = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 9))
    counts = data.draw(st.lists(st.integers(1, 70), min_size=queries, max_size=queries))
    tile = data.draw(st.integers(1, 20))
    at_once = data.draw(st.integers(1, 5))
    items = rng.integers(-2, 3, (rows, 4)).astype(np.float32)  # with many equal scores
    vectors = rng.integers(-2, 3, (queries, 4)).astype(np.float32)
    table = pa.table({"vector": vector_column(items), "n": np.arange(rows)})
    dataset = lance.write_dataset(table, tmp_path_factory.mktemp("scan") / "t.lance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_scan, "_TILE", tile)
        patch.setattr(batch_scan, "_QUERIES", at_once)
        best = scan_best(dataset, "vector", vectors, np.array(counts), "n % 3 > 0")
    admitted = np.flatnonzero(np.arange(rows) % 3 > 0)
    ends = np.cumsum(best.lengths)
    for vector, count, end, length in zip(vectors, counts, ends, best.lengths, strict=True):
        found = best.row_ids[end - length : end].astype(int)
        scores = items @ vector
        assert len(set(found)) == length == min(count, len(admitted))
        assert set(found) <= set(admitted)
        np.testing.assert_array_equal(best.scores[end - length : end], scores[found])
        np.testing.assert_array_equal(scores[found], np.sort(scores[admitted])[::-1][:count])
