"""The map of a gallery: its projection, and its counts against dense rankings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from store.errors import InputError
from store.search import map_clusters
from store.search.corpus_map import corpus_map, project
from tests.helpers.made_release import MadeRelease, make_release


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("made"), 200)


@pytest.mark.parametrize(
    ("query", "gallery"),
    [("text", "image"), ("image", "image"), ("text", "text"), ("image", "text")],
)
def test_counts_are_those_of_dense_rankings(made: MadeRelease, query: str, gallery: str) -> None:
    drawn = corpus_map(made.corpus, gallery, query)
    bank, items = made.corpus.banks.queries(query), made.galleries[gallery]
    raw = np.zeros(len(items.items), int)
    corrected = np.zeros(len(items.items), int)
    for vector in bank.vectors:
        raw[np.argsort(-(items.items @ vector))[:10]] += 1
        corrected[np.argsort(-items.scores(query, vector))[:10]] += 1
    order = [int(sample_id, 16) for sample_id in drawn.ids]
    assert order == items.samples.tolist()
    # Scores that differ in their last digits may swap places at the tenth rank.
    assert np.abs(np.array(drawn.raw) - raw).sum() <= 2
    assert np.abs(np.array(drawn.corrected) - corrected).sum() <= 2
    assert sum(drawn.corrected) == 10 * len(bank.vectors)
    assert drawn.method == made.directions[f"{query}->{gallery}"].method


def test_a_large_gallery_is_sampled_in_the_same_way_again(made: MadeRelease) -> None:
    first = corpus_map(made.corpus, "image", "text", most=50)
    again = corpus_map(made.corpus.reopened(), "image", "text", most=50)
    assert first == again
    assert (first.rows, len(first.x), len(set(first.part_ids))) == (200, 50, 50)


def test_a_map_is_made_once(made: MadeRelease) -> None:
    assert corpus_map(made.corpus, "text", "text") is corpus_map(made.corpus, "text", "text")


def test_a_gallery_without_a_bank_of_queries_has_no_counts(made: MadeRelease) -> None:
    drawn = corpus_map(made.corpus, "image", "audio")
    assert (drawn.bank, set(drawn.raw), set(drawn.corrected)) == (0, {0}, {0})
    with pytest.raises(InputError, match="no audio gallery"):
        corpus_map(made.corpus, "audio", "text")


@settings(max_examples=50)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 8), st.integers(1, 6)),
        elements=st.floats(-1, 1, width=32),
    )
)
def test_the_projection_keeps_most_of_the_variance(vectors: np.ndarray) -> None:
    places, shares = project(vectors)
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
    assert all(0 <= share <= 1 + 1e-9 for share in shares)
    if len(vectors) > 1 and vectors.shape[1] > 1:
        singular = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64))[1]
        expected = np.zeros(2)
        expected[: len(singular[:2])] = singular[:2]
        assert np.allclose(np.linalg.norm(places, axis=0), expected, atol=1e-4)


def test_it_has_the_release_and_its_rows(made: MadeRelease) -> None:
    drawn = corpus_map(made.corpus, "image", "text")
    assert (drawn.release, drawn.gallery, drawn.queries, drawn.rows) == (1, "image", "text", 200)
    names = ("part_ids", "ids", "keys", "drops", "clusters", "x", "y")
    assert {len(getattr(drawn, name)) for name in names} == {200}
    assert set(drawn.clusters) == set(range(len(drawn.cluster_names)))
    assert len(corpus_map(made.corpus, "image", "text", most=50).cluster_names) == 5


def test_clusters_are_those_of_the_vectors() -> None:
    rng = np.random.default_rng(3)
    centres = np.eye(7, 16)
    truth = rng.permutation(np.repeat(np.arange(7), range(20, 90, 10)))
    vectors = centres[truth] + 0.05 * rng.normal(size=(len(truth), 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cell = map_clusters.cluster(vectors.astype(np.float32))
    sizes = np.bincount(cell)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert sum(len(set(cell[truth == number].tolist())) == 1 for number in range(7)) >= 6
    assert map_clusters.cluster(vectors[:0]).tolist() == []
    assert map_clusters.cluster(vectors[:1]).tolist() == [0]


def test_a_cluster_is_named_by_its_words() -> None:
    captions = ["a red horse", "the red bird", "blue boat", "blue, boat!", None]
    assert map_clusters.names(np.array([0, 0, 1, 1, 1]), captions) == ["red", "blue, boat"]
    assert map_clusters.names(np.array([0, 1]), [None, "x"]) == ["", ""]
    assert map_clusters.names(np.empty(0, np.int64), []) == []
    assert len(map_clusters.drawn_rows(np.array([0] * 5 + [1] * 2), 3)) == 5
