"""Soft maxima and learned scores of samples are those of the dense formulas."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import errors
from store.search.aggregate import SHARPNESS, log_mean_exp
from store.search.query import Query
from store.tables.part_weights import PartWeights, mix
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(8), 20)
ROWS = 300
WEIGHTS = {
    "text": PartWeights(0.4, {"image": 0.5, "text": 0.1}, {"image": 0.3, "text": 1.2}, 50, "a"),
    "image": PartWeights(0.0, {"image": 0.2, "text": 0.8}, {"image": 2.0, "text": 0.1}, 40, "b"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("aggregate"), ROWS, part_weights=WEIGHTS)


def dense_learned(parts: dict[str, float], weights: PartWeights) -> float:
    """The formula of `store.tables.part_weights` for one sample, part by part."""
    total = weights.best * max(parts.values())
    for modality, score in parts.items():
        total += weights.weights[modality] * (score - weights.offsets[modality])
    return total


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
    way = data.draw(st.sampled_from(["softmax", "learned"]))
    query = QUERIES[data.draw(st.integers(0, 19))]
    limit = data.draw(st.sampled_from([5, 40, 300]))
    bound = data.draw(st.sampled_from([ROWS, 120]))
    search = made.corpus.search(vectors={modality: query}).among("sample").aggregate(way)
    search = search.limit(limit)
    search = search if bound == ROWS else search.where(f"image_width < {bound}")
    by_sample: dict[int, dict[str, float]] = {}
    for gallery, own in made.galleries.items():
        admitted = own.samples < bound
        scores = made.calibrated(modality, gallery, query, admitted)
        for sample, score in zip(own.samples[admitted], scores[admitted], strict=True):
            by_sample.setdefault(int(sample), {})[gallery] = float(score)
    dense = {
        sample: dense_learned(parts, WEIGHTS[modality])
        if way == "learned"
        else np.log(np.mean(np.exp(SHARPNESS * np.array(list(parts.values()))))) / SHARPNESS
        for sample, parts in by_sample.items()
    }
    result = search.run()
    rows = result.rows.to_pylist()
    for row in rows:
        sample = int(row["id"], 16)
        assert row["_aggregated"] == pytest.approx(dense[sample], abs=1e-4)
        assert row["_calibrated"] == pytest.approx(max(by_sample[sample].values()), abs=1e-4)
    best = np.sort(list(dense.values()))[::-1][: len(rows)]
    if result.complete:
        assert len(rows) == min(limit, len(dense))
        np.testing.assert_allclose([row["_aggregated"] for row in rows], best, atol=1e-4)
    if limit == 5 and way == "softmax":
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
    with pytest.raises(errors.InputError, match="max, softmax, learned"):
        search.aggregate("mean")


@given(st.integers(1, 30), st.integers(0, 99))
def test_no_sample_exceeds_the_bound_of_its_parts(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["image", "text", "audio"]
    weights = PartWeights(
        rng.random(),
        dict(zip(names, rng.random(3) * (rng.random(3) < 0.7), strict=True)),
        dict(zip(names, 3 * rng.random(3), strict=True)),
        20,
    )
    parts = {name: rng.normal(size=rows) for name in names}
    missing = rng.random((3, rows)) < 0.4
    missing[rng.integers(0, 3, rows), np.arange(rows)] = False
    for name, gone in zip(names, missing, strict=True):
        parts[name][gone] = np.nan
    scores = weights.scores(parts)
    for n, score in enumerate(scores):
        own = {name: v[n] for name, v in parts.items() if not np.isnan(v[n])}
        assert score == pytest.approx(dense_learned(own, weights), abs=1e-9)
        assert score <= weights.bound(max(own.values())) + 1e-9
        # A part that scores its offset, and is not the best one, counts as a missing one.
        free = [name for name in names if name not in own]
        for name in (m for m in free if weights.offsets[m] <= max(own.values())):
            more = own | {name: weights.offsets[name]}
            assert dense_learned(more, weights) == pytest.approx(score, abs=1e-9)


def test_several_inputs_have_the_mean_of_their_weights(made: MadeRelease) -> None:
    inputs = {"text": QUERIES[0], "image": QUERIES[1]}
    search = made.corpus.search(vectors=inputs, weights=[0.25, 0.75]).among("sample")
    found = search.aggregate("learned").limit(3).run()
    mixed = mix([(0.25, WEIGHTS["text"]), (0.75, WEIGHTS["image"])])
    assert mixed.best == pytest.approx(0.1)
    assert mixed.weights["text"] * mixed.offsets["text"] == pytest.approx(0.25 * 0.12 + 0.75 * 0.08)
    for hit in found:
        counted = hit.explain().counted
        parts = {each.modality: each.score for each in counted}
        assert hit["_aggregated"] == pytest.approx(dense_learned(parts, mixed), abs=1e-4)
    assert found.notes == ("a; b",)


def test_explain_says_what_each_part_adds(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("sample").aggregate("learned")
    for hit in search.limit(6).run():
        explanation = hit.explain()
        counted = explanation.counted
        assert sum(each.adds for each in counted) == pytest.approx(hit["_aggregated"], abs=1e-4)
        assert counted[0].score == pytest.approx(hit["_calibrated"], abs=1e-4)
        assert {each.modality for each in counted} <= {"image", "text"}
        assert "calibrated, weight" in str(counted[0])
        assert str(counted[0]) in explanation._repr_html_()
    plain = made.corpus.search(vectors={"text": QUERIES[0]}).among("sample").limit(1).run()
    assert plain.explain(0).counted == ()
    assert any("learned weights" in step for step in search.explain().steps)


def test_a_release_without_learned_weights_says_what_to_do(
    made: MadeRelease, tmp_path: Path
) -> None:
    older = make_release(tmp_path, 30).corpus.search(vectors={"text": QUERIES[0]})
    with pytest.raises(errors.InputError, match="older than learned weights: `isotrope run`"):
        older.among("sample").aggregate("learned").run()
    audio = made.corpus.search(vectors={"audio": QUERIES[0]}).among("sample")
    with pytest.raises(errors.InputError, match=r"no weights for audio queries.*text, image"):
        audio.aggregate("learned").run()
