"""Volume and product give what their formulas give on dense matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, errors
from store.search.combine import product_vector, volume_scores
from store.search.query import Query
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(6), 20)
ROWS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("combine"), ROWS)


@given(st.integers(2, 4), st.integers(0, 1000))
def test_the_volume_is_that_of_the_gram_matrix(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, items = unit(rng, count).astype(np.float64), unit(rng, 15).astype(np.float64)
    scores = volume_scores(inputs, inputs @ items.T)
    for item, score in zip(items, scores, strict=True):
        rows = np.vstack([inputs, item])
        volume = np.sqrt(max(0, np.linalg.det(rows @ rows.T)))
        assert score == pytest.approx(1 - volume, abs=1e-4)


def test_inputs_in_one_plane_have_no_volume() -> None:
    inputs = np.stack([QUERIES[0], QUERIES[0]])
    np.testing.assert_allclose(volume_scores(inputs, inputs @ QUERIES.T), 1, atol=1e-3)


@given(st.integers(2, 4), st.integers(0, 1000))
def test_the_product_is_the_multilinear_form(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, item = unit(rng, count), unit(rng, 1)[0]
    form = sum(np.prod(inputs[:, d], dtype=np.float64) * item[d] for d in range(len(item)))
    length = np.sqrt(sum(np.prod(inputs[:, d], dtype=np.float64) ** 2 for d in range(len(item))))
    assert product_vector(inputs) @ item == pytest.approx(form / length, abs=1e-5)


@settings(max_examples=30)
@given(st.data())
def test_searches_are_ranked_by_the_formula(made: MadeRelease, data: st.DataObject) -> None:
    gallery = data.draw(st.sampled_from(["image", "text"]))
    correction = data.draw(st.sampled_from(["auto", "none"]))
    a, b = (QUERIES[data.draw(st.integers(0, 19))] for _ in range(2))
    if np.allclose(a, b):
        return
    bound = data.draw(st.sampled_from([ROWS, 90]))
    search = made.corpus.search(vectors={"text": a, "image": b}).among(gallery).correct(correction)
    search = search.limit(20) if bound == ROWS else search.limit(20).where(f"image_width < {bound}")
    own = made.galleries[gallery]
    admitted = own.samples < bound
    items = own.items[admitted]
    product = a.astype(np.float64) * b
    expected = np.sort(items @ product / np.linalg.norm(product))[::-1][:20]
    rows = search.combine("product").run()
    np.testing.assert_allclose(rows.rows["_score"], expected, atol=1e-5)
    assert rows.complete
    columns = []
    for modality, query in (("text", a), ("image", b)):
        score = own.items @ query
        if correction == "auto" and modality in own.fitted:
            score = own.scores(modality, query, admitted)
            plain = own.fitted[modality].vectors @ query
            if not np.allclose(score[admitted], plain[admitted]):  # a bias is subtracted
                score = score + made.directions[f"{modality}->{gallery}"].centre
                score = np.maximum(score, 0)
        columns.append(score[admitted])
    volumes = []
    for own_scores in np.stack(columns, axis=1).astype(np.float64):
        gram = np.eye(3)
        gram[0, 1] = gram[1, 0] = a.astype(np.float64) @ b
        gram[2, :2] = gram[:2, 2] = own_scores
        square = np.linalg.det(gram)
        volumes.append(1 - np.sign(square) * np.sqrt(abs(square)))
    rows = search.combine("volume").run()
    np.testing.assert_allclose(rows.rows["_score"], np.sort(volumes)[::-1][:20], atol=1e-3)
    assert rows.complete
    assert search.combine("volume").to_list() == rows.rows.to_pylist()


def test_one_input_and_wrong_combinations(made: MadeRelease) -> None:
    one = made.corpus.search(vectors={"text": QUERIES[0]})
    assert one.combine("volume").to_list() == one.to_list()
    two = made.corpus.search(vectors={"text": QUERIES[0], "image": QUERIES[1]})
    assert Query.from_json(two.combine("product").to_json()) == two.combine("product").value
    assert "combine(volume)" in str(two.combine("volume"))
    assert any("volume" in step for step in two.combine("volume").explain().steps)
    assert two.combine("volume").explain().exact is None
    two.combine("volume").run().explain(0).show()
    batch = made.corpus.search(vectors={"text": QUERIES[:3], "image": QUERIES[3:6]})
    rows = batch.combine("volume").to_arrow()
    first = made.corpus.search(vectors={"text": QUERIES[0], "image": QUERIES[3]})
    alone = first.combine("volume").to_arrow()
    assert rows.slice(0, 10)["id"].to_pylist() == alone["id"].to_pylist()
    for wrong in (
        two.among("any"),
        two.hybrid("zebra"),
        two.expand(),
        all_of(two, one),
    ):
        with pytest.raises(errors.InputError, match="combine"):
            wrong.combine("volume").run()
    with pytest.raises(errors.InputError, match="needs correct"):
        two.combine("volume").correct("csls").run()
    negative = made.corpus.search(
        vectors={"text": QUERIES[0]}, negative={"vectors": {"image": QUERIES[1]}}
    )
    with pytest.raises(errors.InputError, match="negative"):
        negative.combine("product").run()
    with pytest.raises(errors.InputError, match="sum, volume, product"):
        two.combine("mean")
    apart = made.corpus.search(vectors={"text": np.eye(16)[0], "image": np.eye(16)[1]})
    with pytest.raises(errors.InputError, match="zero"):
        apart.combine("product").run()
