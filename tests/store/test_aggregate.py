"""Soft maxima over the parts of samples are those of the dense formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import errors
from store.search.aggregate import SHARPNESS, log_mean_exp
from store.search.query import Query
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(8), 20)
ROWS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("aggregate"), ROWS)


@given(st.integers(1, 40), st.integers(0, 99))
def test_the_soft_maximum_lies_between_mean_and_maximum(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = 3 * rng.normal(size=rows)
    _, groups = np.unique(rng.integers(0, 8, rows), return_inverse=True)
    for group, value in enumerate(log_mean_exp(scores, groups)):
        own = scores[groups == group]
        dense = np.log(np.mean(np.exp(SHARPNESS * own))) / SHARPNESS
        assert value == pytest.approx(dense, abs=1e-9)
        assert own.mean() - 1e-9 <= value <= own.max() + 1e-9
        if len(own) == 1:
            assert value == pytest.approx(own[0])


@settings(max_examples=20)
@given(st.data())
def test_samples_are_ranked_by_all_their_parts(made: MadeRelease, data: st.DataObject) -> None:
    modality = data.draw(st.sampled_from(["image", "text"]))
    query = QUERIES[data.draw(st.integers(0, 19))]
    limit = data.draw(st.sampled_from([5, 40, 300]))
    bound = data.draw(st.sampled_from([ROWS, 120]))
    search = made.corpus.search(vectors={modality: query}).among("sample").aggregate("softmax")
    search = search.limit(limit)
    search = search if bound == ROWS else search.where(f"image_width < {bound}")
    by_sample: dict[int, list[float]] = {}
    for gallery, own in made.galleries.items():
        admitted = own.samples < bound
        scores = made.calibrated(modality, gallery, query, admitted)
        for sample, score in zip(own.samples[admitted], scores[admitted], strict=True):
            by_sample.setdefault(int(sample), []).append(float(score))
    dense = {
        sample: np.log(np.mean(np.exp(SHARPNESS * np.array(scores)))) / SHARPNESS
        for sample, scores in by_sample.items()
    }
    result = search.run()
    rows = result.rows.to_pylist()
    for row in rows:
        sample = int(row["id"], 16)
        assert row["_aggregated"] == pytest.approx(dense[sample], abs=1e-4)
        assert row["_calibrated"] == pytest.approx(max(by_sample[sample]), abs=1e-4)
    best = np.sort(list(dense.values()))[::-1][: len(rows)]
    if result.complete:
        assert len(rows) == min(limit, len(dense))
        np.testing.assert_allclose([row["_aggregated"] for row in rows], best, atol=1e-4)
    if limit == 5:
        assert result.complete


def test_options_and_errors(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("sample").aggregate("softmax")
    assert Query.from_json(search.to_json()) == search.value
    assert "aggregate(softmax)" in str(search)
    assert any("soft maximum" in step for step in search.explain().steps)
    rows = search.limit(8).to_list()
    assert [r["id"] for r in search.offset(3).limit(5).to_list()] == [r["id"] for r in rows[3:]]
    assert search.range(rows[4]["_aggregated"]).run().rows.num_rows == 5
    batch = made.corpus.search(vectors={"text": QUERIES[:3]}).among("sample")
    found = batch.aggregate("softmax").limit(8).to_arrow().slice(0, 8)
    assert found["id"].to_pylist() == [row["id"] for row in rows]
    own = made.corpus.search(ids=rows[0]["id"]).among("sample").aggregate("softmax")
    assert rows[0]["id"] not in [row["id"] for row in own.to_list()]
    assert search.where("image_width < 0").run().rows.num_rows == 0
    for wrong in (
        search.among("image"),
        search.among("any"),
        search.hybrid("zebra"),
        search.expand(),
    ):
        with pytest.raises(errors.InputError, match="level"):
            wrong.run()
    with pytest.raises(errors.InputError, match="max, softmax"):
        search.aggregate("mean")
