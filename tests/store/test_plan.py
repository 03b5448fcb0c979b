"""The plan of a query, made before it runs, says what the search does."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, errors, none_of
from pipelines.index import build
from store.config.index import Index
from store.search import open_gallery
from store.search.opened import OpenRelease
from store.search.plan import Plan
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(3), 6)
ROWS = 300
INDEX = Index(type="ivf_hnsw_sq", partitions=2, recall=0.5)


@pytest.fixture(scope="module", params=["flat", "indexed"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    index = INDEX if request.param == "indexed" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "QUERIES", 8)  # what the recall is does not matter
        return make_release(tmp_path_factory.mktemp(request.param), ROWS, index)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conditions that more than 100 rows satisfy are searched by the index."""
    monkeypatch.setattr(open_gallery, "FLAT_ROWS", 100)


@settings(max_examples=60)
@given(st.data())
def test_a_plan_says_what_the_search_does(made: MadeRelease, data: st.DataObject) -> None:
    vector = {data.draw(st.sampled_from(["text", "image"])): QUERIES[data.draw(st.integers(0, 5))]}
    search = made.corpus.search(vectors=vector)
    if data.draw(st.booleans()):
        search = search.like(f"image-{5:032x}")
    search = search.among(data.draw(st.sampled_from(["image", "text", "any", "sample"])))
    search = search.correct(data.draw(st.sampled_from(["auto", "none", "csls", "nnn"])))
    where = data.draw(st.sampled_from([None, "image_width < 50", "image_width < 200"]))
    search = search.where(where) if where else search
    search = search.limit(data.draw(st.sampled_from([1, 10, 60, 200])))
    search = search.diverse() if data.draw(st.booleans()) else search
    plan, result = search.explain(), search.run()
    assert plan.exact in (None, result.complete)
    if plan.exact is not None:
        assert plan.recall == result.recall
    for gallery in plan.galleries:
        table = made.corpus.gallery_dataset(gallery.modality)
        assert gallery.rows == table.count_rows()
        if where:
            assert gallery.matches == table.count_rows(where)


def test_it_says_why_it_scans(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("image")
    (planned,) = search.explain().galleries[0].searches
    if made.corpus.release.indexes["image"].type == "flat":
        assert (planned.method, planned.reason) == ("scan", "the gallery has no index")
        assert search.explain().exact is True
        return
    probe = made.corpus.release.indexes["image"].probes["text->image corrected"][0]
    assert (planned.method, planned.refine) == ("ivf_hnsw_sq", probe.refine)
    assert planned.nprobes == min(probe.nprobes, 2)
    assert search.explain().recall == probe.recall == search.run().recall
    few = search.where("image_width < 50").explain()
    assert few.galleries[0].searches[0].reason == "only 50 rows satisfy the condition"
    assert "50 satisfy (`image_width` < 50)" in str(few)
    (many,) = search.limit(ROWS - 1).explain().galleries[0].searches
    assert many.method == "scan"
    assert f"for {ROWS - 1} rows" in many.reason


def test_it_names_corrections_and_steps(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).among("any")
    search = search.range(-1).dedup(0.9).offset(2).limit(5)
    plan = search.explain()
    named = {c.direction: c.method for g in plan.galleries for c in g.corrections}
    assert named == {"text->image": "nnn", "text->text": "dynamic_inverted_softmax"}
    assert [step.split()[0] for step in plan.steps] == ["the", "rows", "rows", "the", "at"]
    rescored = search.correct("csls").explain()
    assert {g.candidates for g in rescored.galleries} == {1000}
    assert not any(c.compiled for g in rescored.galleries for c in g.corrections)
    json.dumps(plan.to_dict(), allow_nan=False)
    for part in ("image gallery: 300 rows", "text->image: nnn (alpha", "then at most 5 rows"):
        assert part in str(plan)


def test_compound_queries_are_planned_part_by_part(made: MadeRelease) -> None:
    one, two = (made.corpus.search(vectors={"text": q}) for q in QUERIES[:2])
    query = all_of(one, none_of(two)).among("any")
    plan = query.explain()
    assert [g.modality for g in plan.galleries] == ["image", "image", "text", "text"]
    is_flat = made.corpus.release.indexes["image"].type == "flat"
    assert plan.exact is (True if is_flat else None)
    assert plan.exact in (None, query.run().complete)


def test_nothing_is_encoded_or_searched(made: MadeRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("a plan must not do this")

    monkeypatch.setattr(OpenRelease, "encode", fail)
    monkeypatch.setattr(open_gallery.OpenGallery, "fetch", fail)
    search = made.corpus.search(text="a cat", image=b"any bytes", weights=[0.5, 0.5]).among("any")
    assert isinstance(search.where("image_width < 200").explain(), Plan)
    assert "text->image" in str(search.explain())


def test_wrong_queries_raise_the_errors_of_a_search(made: MadeRelease) -> None:
    search = made.corpus.search(text="x")
    wrong = [
        (search.among("audio"), errors.InputError),
        (search.where("nonsense >"), errors.InputError),
        (search.where("key > 3 AND image_width LIKE 'x'"), errors.InputError),
        (search.select("nonsense"), errors.NotFoundError),
        (search.release(99), errors.NotFoundError),
        (made.corpus.search(ids="f" * 32), errors.NotFoundError),
    ]
    for query, kind in wrong:
        with pytest.raises(kind):
            query.explain()
