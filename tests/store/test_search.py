"""One executor: batches, ids, negative inputs, offsets, bounds, releases and timeouts."""

import threading
from pathlib import Path

import numpy as np
import pytest

import isotrope
from isotrope import errors
from store.arrow import as_matrix
from store.corrections import prepare_many
from store.search import execute, rescoring
from store.search.query import Query
from store.search.vector_layout import unfold
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, DIM, ColourText, picture

TEXTS = [f"a red square number {number}" for number in (3, 77, 401)]


@pytest.fixture(scope="module")
def corpus(squares: Workspace) -> isotrope.Corpus:
    return isotrope.connect(squares.root)


def ids(search) -> list[str]:
    return [row["id"] for row in search.to_list()]


def unit_vectors(corpus: isotrope.Corpus) -> dict[str, np.ndarray]:
    """The vectors of images by part id."""
    rows = corpus.gallery("image").to_arrow()
    vectors = unfold(as_matrix(rows["vector"]), DIM)
    return dict(zip(rows["part_id"].to_pylist(), vectors, strict=True))


@pytest.mark.parametrize("level", ["image", "any"])
def test_a_batch_gives_what_single_queries_give(corpus: isotrope.Corpus, level: str) -> None:
    batch = corpus.search(text=TEXTS).among(level).limit(7).run()
    assert batch.rows.column_names[0] == "query"
    assert batch.complete
    rows = batch.rows.to_pylist()
    for number, text in enumerate(TEXTS):
        single = corpus.search(text=text).among(level).limit(7).to_list()
        mine = [row for row in rows if row["query"] == number]
        assert [r["id"] for r in mine] == [r["id"] for r in single]
        np.testing.assert_allclose(
            [r["_score"] for r in mine], [r["_score"] for r in single], atol=1e-6
        )
        assert [r["rank"] for r in mine] == list(range(1, 8))
    hits = list(batch)
    assert hits[10].explain().rank == hits[10]["rank"] == 4


def test_json_gives_the_same_rows(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text=TEXTS[0], image=picture(COLOURS["red"], 5)).where("image_width > 5")
    assert corpus.run(Query.from_json(search.to_json())).rows == search.to_arrow()


def test_ids_find_more_like_this_and_not_itself(corpus: isotrope.Corpus) -> None:
    first = corpus.search(text=TEXTS[0]).select("part_id").limit(1).to_list()[0]
    by_part = corpus.search(ids=first["part_id"]).correct("none").limit(5).to_list()
    rows = corpus.gallery("image").to_arrow()
    vectors = unfold(as_matrix(rows["vector"]), DIM)
    own = rows["part_id"].to_pylist().index(first["part_id"])
    order = [i for i in np.argsort(-(vectors @ vectors[own])) if i != own][:5]
    assert [r["id"] for r in by_part] == rows.take(order)["id"].to_pylist()
    by_sample = corpus.search(ids=[first["id"]]).among("any").limit(20).to_list()
    assert first["id"] not in [r["id"] for r in by_sample]
    with pytest.raises(errors.NotFoundError, match="nothing-here"):
        corpus.search(ids="nothing-here").run()
    with pytest.raises(errors.NotFoundError):
        corpus.search(ids="' OR true --").run()


def test_negative_inputs_lower_the_score(corpus: isotrope.Corpus) -> None:
    text, other = "a red square number 3", "a blue square number 3"
    search = corpus.search(text=text, negative={"text": other, "weights": [0.4]})
    rows = corpus.gallery("image").to_arrow()
    a, b = ColourText().encode([text, other])
    raw = unfold(as_matrix(rows["vector"]), DIM) @ (a - 0.4 * b)
    score = raw - 0.6 * rows["bias_text"].to_numpy()
    for method, expected in (("none", raw), ("auto", score)):
        best = rows.take(np.argsort(-expected, kind="stable")[:10])["id"].to_pylist()
        assert ids(search.correct(method)) == best


def test_feedback_moves_the_result(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text="a red square number 3").correct("none")
    blue = corpus.search(text="a blue square number 12").limit(3).to_list()
    liked = search.like(*(r["id"] for r in blue)).to_list()
    assert not {r["id"] for r in blue} & {r["id"] for r in liked}
    query = search.like(blue[0]["id"]).unlike(blue[1]["id"])
    weights = [i.weight for i in query.inputs[0]]
    np.testing.assert_allclose(weights, np.array([1, 0.75, -0.25 * 1.75]) / 1.75, rtol=1e-6)
    assert len(query.limit(3).to_list()) == 3
    with pytest.raises(errors.InputError, match="ids"):
        search.like()


def test_near_duplicates_collapse_and_the_list_is_filled_up(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text=TEXTS[0]).select("part_id").limit(20)
    units = unit_vectors(corpus)
    everything = search.limit(2_000).to_list()
    bound = 0.8
    expected: list[str] = []
    for row in everything:
        part = row["part_id"]
        if all(units[part] @ units[other] < bound for other in expected):
            expected.append(part)
    assert [r["part_id"] for r in everything[:20]] != expected[:20]
    assert [r["part_id"] for r in search.dedup(bound).to_list()] == expected[:20]
    later = search.offset(5).limit(4).dedup(bound).to_list()
    assert [r["part_id"] for r in later] == expected[5:9]


def test_a_diverse_list_is_less_alike(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text=TEXTS[0]).select("part_id").limit(8)
    units = unit_vectors(corpus)

    def likeness(hits: list[dict]) -> float:
        x = np.stack([units[r["part_id"]] for r in hits])
        return float((x @ x.T)[np.triu_indices(len(x), 1)].mean())

    diverse = search.diverse(0.3).run()
    assert not diverse.complete
    assert likeness(diverse.rows.to_pylist()) < likeness(search.to_list()) - 0.05
    assert [r["part_id"] for r in search.diverse(1).to_list()] == [
        r["part_id"] for r in search.to_list()
    ]


def test_a_requested_correction_is_fitted_once(
    corpus: isotrope.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    monkeypatch.setattr(rescoring, "prepare_many", lambda *a, **k: fits.append(a) or made(*a, **k))
    made = prepare_many
    own = isotrope.connect(corpus.tables.root)
    search = own.search(vectors={"text": np.ones(DIM)}).correct("csls", k=7)
    assert ids(search) == ids(search)
    assert len(fits) == 1
    ids(search.correct("csls", k=8))
    assert len(fits) == 2


def test_offset_and_range(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text=TEXTS[0])
    rows = search.limit(30).to_list()
    later = search.offset(10).limit(5).to_list()
    assert [r["id"] for r in later] == [r["id"] for r in rows[10:15]]
    assert [r["rank"] for r in later] == [11, 12, 13, 14, 15]
    bound = rows[6]["_score"]
    assert ids(search.range(bound).limit(30)) == [r["id"] for r in rows if r["_score"] >= bound]
    assert search.range(2).to_list() == []


def test_a_release_by_number(corpus: isotrope.Corpus) -> None:
    search = corpus.search(text=TEXTS[0])
    assert ids(search.release(corpus.release.number)) == ids(search)
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        search.release(99).run()


def test_a_timeout_is_a_typed_error(
    corpus: isotrope.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = corpus.search(text=TEXTS[0])
    assert ids(search.timeout(60)) == ids(search)
    ended = threading.Event()
    answer = execute.rank_by_vectors

    def slow(*arguments):
        ended.wait(20)
        return answer(*arguments)

    monkeypatch.setattr(execute, "rank_by_vectors", slow)
    with pytest.raises(errors.QueryTimeoutError, match=r"0\.1 s"):
        search.timeout(0.1).run()
    ended.set()


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"OggS" * 30, b"ID3" + b"\0" * 99, b"fLaC" * 9]
)
def test_broken_media_are_typed_errors(data: bytes, tmp_path: Path) -> None:
    from embedders.spaces import encode_inputs, open_space

    local = open_space("local", {"preset": "local"})
    for modality in ("audio", "image"):
        with pytest.raises(errors.InputError, match="cannot be used"):
            encode_inputs(local, {modality: [data]})
