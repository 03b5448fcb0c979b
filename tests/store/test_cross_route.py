"""The route through another modality gives what its formula gives on dense matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotrope import all_of, errors
from store.search.cross_route import BETA, NEAREST, bridge_of
from store.search.query import Query
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(3), 20)
ROWS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("route"), ROWS)


def dense_bridge(made: MadeRelease, modality: str, query: np.ndarray) -> tuple[str, np.ndarray]:
    """The formula of the module, on all scores."""
    other = {"image": "text", "text": "image"}[modality]
    scores = made.galleries[other].scores(modality, query).astype(np.float64)
    nearest = np.argsort(-scores, kind="stable")[:NEAREST]
    weights = np.exp(BETA * scores[nearest])
    mean = weights / weights.sum() @ made.galleries[other].items[nearest]
    return other, mean / np.linalg.norm(mean)


@given(number=st.integers(0, 19), modality=st.sampled_from(["image", "text"]))
def test_an_input_searches_by_the_nearest_of_the_other_modality(
    made: MadeRelease, number: int, modality: str
) -> None:
    search = made.corpus.search(vectors={modality: QUERIES[number]}).among(modality).limit(30)
    rows = search.route("cross").to_arrow()
    other, vector = dense_bridge(made, modality, QUERIES[number])
    scores = made.galleries[modality].scores(other, vector.astype(np.float32))
    np.testing.assert_allclose(rows["_score"], np.sort(scores)[::-1][:30], atol=1e-5)


def test_an_item_searches_by_its_pair(made: MadeRelease) -> None:
    texts, images = made.galleries["text"], made.galleries["image"]
    for position in (0, 5, 50):
        sample = texts.samples[position]
        ids = f"image-{sample:032x}"
        rows = made.corpus.search(ids=ids).route("cross").limit(ROWS).to_arrow()
        scores = images.scores("text", texts.items[position])
        scores = np.delete(scores, sample)
        np.testing.assert_allclose(rows["_score"], np.sort(scores)[::-1], atol=1e-5)
    alone = f"image-{0:032x}"  # this sample has no text
    rows = made.corpus.search(ids=alone).route("cross").limit(5).to_arrow()
    other, vector = dense_bridge(made, "image", images.items[0])
    scores = np.delete(images.scores(other, vector.astype(np.float32)), 0)
    np.testing.assert_allclose(rows["_score"], np.sort(scores)[::-1][:5], atol=1e-5)


def test_other_modalities_and_galleries_keep_their_route(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]})
    assert search.route("cross").to_list() == search.to_list()
    mixed = made.corpus.search(vectors={"text": QUERIES[0], "image": QUERIES[1]}).route("cross")
    _, vector = dense_bridge(made, "image", QUERIES[1])
    images = made.galleries["image"]
    scores = images.scores("text", QUERIES[0]) + images.scores("text", vector.astype(np.float32))
    np.testing.assert_allclose(
        mixed.to_arrow()["_score"], np.sort(scores / 2)[::-1][:10], atol=1e-5
    )
    both = all_of(search, made.corpus.search(vectors={"image": QUERIES[1]})).route("cross")
    assert len(both.to_list()) == 10
    assert both.run().explain(0).parts[1].modality == "text"


def test_the_option_is_written_planned_and_checked(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"image": QUERIES[0]}).route("cross")
    assert Query.from_json(search.to_json()) == search.value
    assert "route(cross)" in str(search)
    plan = search.explain()
    assert plan.galleries[0].corrections[0].direction == "text->image"
    assert "another one" in plan.steps[0]
    for wrong in ("", "nowhere", None, 3):
        with pytest.raises(errors.InputError, match="direct, cross"):
            search.route(wrong)


def test_a_release_of_one_modality_has_no_other_route() -> None:
    assert bridge_of(["image"], "image") is None
    assert bridge_of(["audio", "image", "text"], "audio") == "text"
    assert bridge_of(["text", "audio"], "text") == "audio"
