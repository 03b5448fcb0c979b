"""Over indexes, samples, compound and hybrid queries are `complete` only where they are exact."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, any_of, none_of
from store.config.index import Index
from tests.helpers.made_release import MadeRelease, make_release, unit

pytestmark = pytest.mark.slow  # builds indexes
QUERIES = unit(np.random.default_rng(17), 12)
ROWS = 3_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    folder = tmp_path_factory.mktemp("indexed")
    return make_release(folder, ROWS, Index(type="ivf_rq", partitions=16, recall=0.9))


@settings(max_examples=60)
@given(st.data())
def test_complete_is_never_true_when_a_better_item_was_left_out(
    made: MadeRelease, data: st.DataObject
) -> None:
    numbers = [data.draw(st.integers(0, 11)) for _ in range(3)]
    parts = [made.corpus.search(vectors={"text": QUERIES[n]}) for n in numbers]
    level = data.draw(st.sampled_from(["image", "text", "sample"]))
    kind = data.draw(st.sampled_from(["one", "all", "any", "none"]))
    limit = data.draw(st.integers(1, 100))
    bound = data.draw(st.none() | st.integers(0, ROWS))
    joined = {
        "one": lambda: parts[0],
        "all": lambda: all_of(*parts),
        "any": lambda: any_of(*parts),
        "none": lambda: all_of(*parts[:2], none_of(parts[2])),
    }[kind]()
    search = joined.among(level).limit(limit)
    result = (search if bound is None else search.where(f"image_width < {bound}")).run()
    if not result.complete:
        return
    best: dict[int, float] = {}
    for name in ("image", "text") if level == "sample" else (level,):
        samples = made.galleries[name].samples
        admitted = samples < (ROWS if bound is None else bound)
        each = [made.calibrated("text", name, QUERIES[n], admitted) for n in numbers]
        score = {
            "one": lambda e=each: e[0],
            "all": lambda e=each: reduce(np.minimum, e),
            "any": lambda e=each: reduce(np.maximum, e),
            "none": lambda e=each: np.minimum(e[0], e[1]) - np.maximum(e[2], 0),
        }[kind]()
        for sample, value in zip(samples[admitted], score[admitted], strict=True):
            best[sample] = max(best.get(sample, -np.inf), value)
    expected = sorted(best.values(), reverse=True)[:limit]
    if kind == "one" and level != "sample":
        direction = made.directions[f"text->{level}"]
        expected = [value * direction.unit + direction.zero for value in expected]
        np.testing.assert_allclose(result.rows["_score"], expected, atol=1e-4)
    else:
        name = "_calibrated" if level == "sample" else "_score"
        np.testing.assert_allclose(result.rows[name], expected, atol=1e-4)


def test_answers_over_an_index_have_its_recall(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).limit(10)
    other = made.corpus.search(vectors={"text": QUERIES[1]})
    plain = search.run()
    assert not plain.complete, made.corpus.release.indexes["image"].notes
    for query in (search.hybrid("zebra"), all_of(other, other), search.among("sample")):
        result = query.run()
        assert not result.complete
        assert 0.9 <= result.recall <= 1
    batch = made.corpus.search(vectors={"text": QUERIES}).limit(10).to_list()
    alone = search.to_list()
    assert [r["id"] for r in batch if r["query"] == 0] == [r["id"] for r in alone]
