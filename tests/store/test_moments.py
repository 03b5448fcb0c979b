"""A search of moments lists each part by its best moment, as a dense reference does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, errors
from store.arrow import vector_column
from store.corrections import Correction, fit
from store.search.corpus import Corpus
from store.search.query import Query
from store.search.vector_layout import fold
from store.tables import moments, schema
from store.tables.moments import Moments
from tests.helpers.made_release import DIM, METHODS, SPACE, MadeRelease, make_release, unit
from tests.helpers.release_tables import write_gallery

ROWS = 120
LENGTHS = np.random.default_rng(8).integers(0, 9, ROWS)  # some images have no moments
OWNERS = np.repeat(np.arange(ROWS), LENGTHS)
VECTORS = unit(np.random.default_rng(9), len(OWNERS))
BOXES = np.random.default_rng(10).random((len(OWNERS), 4)).astype(np.float32)


def moment_rows(made: MadeRelease, fitted: dict[str, Correction]) -> pa.Table:
    """The table of moments of images."""
    moved = [q for q in fitted if made.directions[f"{q}->image"].recipe.moves]
    by_query = {q: made.directions[f"{q}->image"] for q in fitted}
    unmoved = {q: c.bias for q, c in fitted.items() if q not in moved}
    ids = [f"{n:032x}" for n in OWNERS]
    columns: dict[str, Any] = {
        "part_id": [f"image-{each}" for each in ids],
        "id": ids, "cluster": ids, "key": [f"key-{n}" for n in OWNERS],
        "vector": vector_column(fold(VECTORS, unmoved, by_query)),
        "image_width": OWNERS,
        "sample_ids": [[each] for each in ids], "drops": [["d"]] * len(ids),
        "encoder": ["e"] * len(ids),
        "moment": np.arange(len(ids)),
        "_box": BOXES.tolist(),
    }  # fmt: skip
    for m in schema.MODALITIES:
        columns[f"bias_{m}"] = fitted[m].bias if m in fitted else np.zeros(len(ids))
        columns[f"hub_{m}"] = np.zeros(len(ids), bool)
    for q in moved:
        rows = fold(fitted[q].vectors, {q: fitted[q].bias}, by_query)
        columns[f"vector_{q}"] = vector_column(rows)
    name, made_schema = "scratch", moments.served_schema("image", DIM, moved)
    tables = made.corpus.tables
    write_gallery(tables, name, made_schema, columns, len(ids))
    return tables.open(name).to_table()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeRelease, dict[str, Correction]]:
    first = make_release(tmp_path_factory.mktemp("first"), ROWS)
    items = first.galleries["image"].items
    fitted = {
        q: fit(
            METHODS[f"{q}->image"],
            gallery=VECTORS,
            query_bank=first.corpus.banks.queries(q).vectors,
            gallery_bank=items[:100],
        )
        for q in ("text", "image")
    }
    more = {f"moments__{SPACE}__image": moment_rows(first, fitted)}
    return make_release(tmp_path_factory.mktemp("second"), ROWS, more=more), fitted


@pytest.fixture(scope="module")
def corpus(made: tuple[MadeRelease, dict[str, Correction]]) -> Corpus:
    return made[0].corpus


def best_moments(scores: np.ndarray, admitted: np.ndarray) -> Iterator[tuple[int, int]]:
    """(sample, moment) by the best moment of each sample."""
    seen: set[int] = set()
    for moment in np.argsort(-scores, kind="stable"):
        if admitted[moment] and OWNERS[moment] not in seen:
            seen.add(OWNERS[moment])
            yield int(OWNERS[moment]), int(moment)


@settings(max_examples=30, derandomize=True)
@given(st.data())
def test_parts_are_ranked_by_their_best_moments(
    made: tuple[MadeRelease, dict[str, Correction]], data: st.DataObject
) -> None:
    release, fitted = made
    modality = data.draw(st.sampled_from(["text", "image"]))
    method = data.draw(st.sampled_from(["auto", "none"]))
    limit = data.draw(st.sampled_from([1, 3, 20, 200]))
    lowest = data.draw(st.sampled_from([0, 60, 119, 500]))
    query = unit(np.random.default_rng(data.draw(st.integers(0, 99))), 1)[0]
    c = fitted[modality]
    scores = VECTORS @ query if method == "none" else c.vectors @ query - c.bias
    expected = list(best_moments(scores, lowest <= OWNERS))[:limit]
    search = release.corpus.search(vectors={modality: query}).correct(method).moments()
    result = search.where(f"image_width >= {lowest}").limit(limit).select("key").run()
    rows = result.rows.to_pylist()
    assert [row["key"] for row in rows] == [f"key-{sample}" for sample, _ in expected]
    for row, (_, moment) in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row["_box"], BOXES[moment])
        assert row["_raw_score"] == pytest.approx(VECTORS[moment] @ query, abs=1e-5)
    if method == "none":
        np.testing.assert_allclose(
            [row["_score"] for row in rows], [scores[moment] for _, moment in expected], atol=1e-5
        )
    assert result.complete


def test_moments_join_the_other_options(corpus: Corpus) -> None:
    vectors = unit(np.random.default_rng(1), 3)
    search = corpus.search(vectors={"text": vectors[0]}).moments()
    rows = search.limit(8).to_list()
    assert [r["id"] for r in search.offset(3).limit(5).to_list()] == [r["id"] for r in rows[3:]]
    assert search.range(rows[4]["_score"]).run().rows.num_rows == 5
    assert len(search.correct("csls").to_list()) == 10
    assert len(search.dedup(0.99).diverse(0.5).to_list()) == 10
    batch = corpus.search(vectors={"text": vectors}).moments().limit(8).to_arrow().to_pylist()
    assert [(r["id"], r["_box"]) for r in batch[:8]] == [(r["id"], r["_box"]) for r in rows]
    assert [row["query"] for row in batch] == sorted([0, 1, 2] * 8)
    liked = search.like(rows[0]["id"]).limit(50).to_list()
    assert rows[0]["id"] not in {row["id"] for row in liked}
    for level in ("any", "sample"):
        merged = search.among(level).limit(200).to_list()
        assert {(r["modality"], r["_box"] is None) for r in merged} == {
            ("image", False),
            ("text", True),
        }
        assert (np.diff([row["_calibrated"] for row in merged]) <= 0).all()
    ids = [row["id"] for row in search.among("sample").limit(200).to_list()]
    assert len(ids) == len(set(ids)) == sum((LENGTHS > 0) | (np.arange(ROWS) % 3 > 0))


def test_a_hit_is_explained_with_its_span(corpus: Corpus) -> None:
    vector = unit(np.random.default_rng(2), 1)[0]
    search = corpus.search(vectors={"text": vector}).moments().limit(5)
    raw = [r["id"] for r in search.correct("none").limit(200).to_list()]
    for number, row in enumerate(search.to_list()):
        explained = search.explain_row(number)
        assert explained.span == moments.span_text(row)
        assert explained.span.startswith("left ")
        assert explained.raw_rank == raw.index(row["id"]) + 1
        assert explained.parts[0].raw_score == pytest.approx(row["_raw_score"], abs=1e-5)
        assert explained.parts[0].bias == pytest.approx(row["_bias"], abs=1e-5)


def test_the_option_is_written_planned_and_checked(corpus: Corpus) -> None:
    search = corpus.search(vectors={"text": VECTORS[0]}).moments()
    assert Query.from_json(search.to_json()) == search.value
    assert '"moments": true' in search.to_json()
    assert str(search).endswith(".moments()")
    assert "moments" not in str(search.moments(False))
    assert any("best moment" in step for step in search.explain().steps)
    with pytest.raises(errors.InputError, match=r"moments\('yes'\)"):
        search.moments("yes")


def test_queries_that_moments_cannot_answer_are_refused(
    corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> None:
    search = corpus.search(vectors={"text": VECTORS[0]}).moments()
    for query, named in (
        (search.hybrid("a"), r"hybrid\(\)"),
        (search.expand(), r"expand\(\)"),
        (search.late(), r"late\(\)"),
        (search.among("sample").aggregate("softmax"), "aggregate"),
        (all_of(search.moments(False), search.moments(False)).moments(), "compound"),
    ):
        with pytest.raises(errors.InputError, match=named):
            query.run()
        with pytest.raises(errors.InputError, match=named):
            query.explain()
    with pytest.raises(errors.InputError, match="release 1 has no moments of text"):
        search.among("text").run()
    with pytest.raises(errors.NotFoundError, match="thumbnail"):
        search.select("thumbnail").run()
    without = make_release(tmp_path_factory.mktemp("without"), 30).corpus
    with pytest.raises(errors.InputError, match="no moments of image, text"):
        without.search(vectors={"text": VECTORS[0]}).among("any").moments().run()


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.integers(0, 9))
def test_packed_and_stored_moments_are_read_back(lengths: list[int], seed: int) -> None:
    rng, count = np.random.default_rng(seed), sum(lengths)
    given_ = Moments(unit(rng, count), rng.random((count, 4)).astype(np.float32), np.array(lengths))
    packed = moments.unpack(moments.pack(given_, 5), DIM)
    arrays = moments.columns_of(given_)
    stored = moments.read_columns(pa.table(arrays, names=["vectors", "spans"]))
    for found, atol in ((packed, 0), (stored, 1e-3)):
        np.testing.assert_allclose(found.vectors, given_.vectors, atol=atol)
        np.testing.assert_array_equal(found.spans, given_.spans)
        np.testing.assert_array_equal(found.lengths, given_.lengths)


def test_a_query_is_routed_by_its_gaps(corpus: Corpus) -> None:
    rng = np.random.default_rng(4)
    tables = (("image", False), ("image", True), ("text", False))
    measured = {
        table: best_of(corpus, corpus.banks.queries("text").vectors, table) for table in tables
    }
    chosen = set()
    for vector in [*unit(rng, 12), *VECTORS[:6]]:
        search = corpus.search(vectors={"text": vector}).limit(3)
        gaps = {
            table: (best_of(corpus, vector[None], table)[0] - np.mean(own)) / np.std(own)
            for table, own in measured.items()
        }
        right = max(gaps, key=lambda key: gaps[key])
        chosen.add(right)
        result = search.among("auto").run()
        expected = search.among(right[0]).moments(right[1]).run()
        columns = ["id", "_score", *(["_box"] if right[1] else [])]
        assert result.rows.select(columns).equals(expected.rows.select(columns))
        named = f"auto: by gaps {right[0]}{' moments' if right[1] else ''} {gaps[right]:.2f}"
        assert result.notes[0].startswith(named)
        assert result.explain(0).span == expected.explain(0).span
    assert len(chosen) > 1


def best_of(corpus: Corpus, vectors: np.ndarray, table: tuple[str, bool]) -> list[float]:
    """The best scores of texts in a gallery or its moments."""
    search = corpus.search(vectors={"text": vectors}).among(table[0]).moments(table[1]).limit(1)
    return search.to_arrow()["_score"].to_pylist()


def test_a_batch_is_routed_query_by_query(corpus: Corpus) -> None:
    vectors = np.concatenate([unit(np.random.default_rng(4), 6), VECTORS[:2]])
    batch = corpus.search(vectors={"text": vectors}).among("auto").limit(4).to_arrow().to_pylist()
    for number, vector in enumerate(vectors):
        alone = corpus.search(vectors={"text": vector}).among("auto").limit(4).to_list()
        own = [row for row in batch if row["query"] == number]
        assert [(r["id"], r["modality"]) for r in own] == [(r["id"], r["modality"]) for r in alone]


def test_what_cannot_be_routed_is_refused(corpus: Corpus) -> None:
    search = corpus.search(vectors={"text": VECTORS[0]})
    both = all_of(search, search).among("auto")
    for run in (both.run, both.explain):
        with pytest.raises(errors.InputError, match="chooses a gallery for one query"):
            run()
    with pytest.raises(errors.InputError, match="only rescores"):
        search.among("auto").correct("csls").run()
    assert Query.from_json(search.among("auto").to_json()).gallery == "auto"
    assert any("largest gap" in step for step in search.among("auto").explain().steps)
    texts = search.among("auto").hybrid("zebra").run()  # hybrid() leaves moments out
    assert "moments" not in texts.notes[0]
    empty = search.among("auto").where("image_width < 0").run()
    assert empty.rows.num_rows == 0
