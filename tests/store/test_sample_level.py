"""A search of samples gives each sample once, by its best part on the calibrated scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(7), 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("samples"), 300)


@settings(max_examples=40)
@given(st.data())
def test_each_sample_has_its_best_part(made: MadeRelease, data: st.DataObject) -> None:
    modality = data.draw(st.sampled_from(["image", "text"]))
    vector = QUERIES[data.draw(st.integers(0, 19))]
    limit, offset = data.draw(st.integers(1, 400)), data.draw(st.integers(0, 30))
    bound = data.draw(st.integers(0, 300))
    search = made.corpus.search(vectors={modality: vector}).among("sample")
    search = search.where(f"image_width < {bound}").limit(limit).offset(offset)
    result = search.run()
    best: dict[int, tuple[float, str]] = {}
    for name, gallery in made.galleries.items():
        calibrated = made.calibrated(modality, name, vector, gallery.samples < bound)
        for sample, score in zip(gallery.samples, calibrated, strict=True):
            if sample < bound:
                best[sample] = max(best.get(sample, (-np.inf, "")), (score, name))
    ranked = sorted(best.values(), reverse=True)[offset : offset + limit]
    rows = result.rows.to_pylist()
    assert result.complete
    np.testing.assert_allclose(
        [row["_calibrated"] for row in rows], [score for score, _ in ranked], atol=1e-4
    )
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        score, name = best[int(row["id"], 16)]
        assert row["_calibrated"] == pytest.approx(score, abs=1e-4)
        assert (row["modality"], row["part_id"]) == (name, f"{name}-{row['id']}")


def test_other_words_work_with_samples(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("sample").limit(20)
    rows = search.select("key", "part_id").to_list()
    assert list(rows[0]).count("part_id") == 1
    fused = search.hybrid("zebra").to_list()
    assert len({row["id"] for row in fused}) == 20
    assert (np.diff([row["_fused"] for row in fused]) <= 0).all()
    assert search.dedup(0.95).run().rows.num_rows == 20
    bound = rows[4]["_calibrated"]
    assert len(search.range(bound).to_list()) == 5
