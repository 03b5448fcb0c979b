"""Compound queries give what brute force gives, and their trees are bounded."""

import json
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isotrope
from isotrope import all_of, any_of, errors, none_of
from store.search.query import Query
from tests.helpers.made_release import DIM, MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(11), 12)
ROWS = 500
NAMES = {"all": all_of, "any": any_of, "none": none_of}
Tree = int | tuple[str, list]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("compound"), ROWS)


def trees(depth: int = 2) -> st.SearchStrategy[Tree]:
    """Random trees over numbers of queries. A number from 12 is a query of the other modality."""
    leaf = st.integers(0, 23)
    member = leaf if depth == 0 else leaf | trees(depth - 1)
    nones = st.lists(st.tuples(st.just("none"), st.lists(leaf, min_size=1, max_size=2)), max_size=1)
    return st.one_of(
        st.tuples(st.just("any"), st.lists(member, min_size=1, max_size=3)),
        st.tuples(
            st.just("all"),
            st.builds(lambda a, b: [*a, *b], st.lists(member, min_size=1, max_size=2), nones),
        ),
    )


def build(corpus: "isotrope.Corpus", tree: Tree) -> Query:
    if isinstance(tree, int):
        modality = "text" if tree < 12 else "image"
        return corpus.search(vectors={modality: QUERIES[tree % 12]})
    return NAMES[tree[0]](*(build(corpus, member) for member in tree[1]))


def leaves(tree: Tree) -> int:
    return 1 if isinstance(tree, int) else sum(map(leaves, tree[1]))


def value(made: MadeRelease, gallery: str, tree: Tree, admitted: np.ndarray) -> np.ndarray:
    """The scores of all items by the definition."""
    if isinstance(tree, int):
        modality = "text" if tree < 12 else "image"
        return made.calibrated(modality, gallery, QUERIES[tree % 12], admitted)
    kind, members = tree
    wanted = [
        value(made, gallery, m, admitted) for m in members if isinstance(m, int) or m[0] != "none"
    ]
    if kind == "any":
        return reduce(np.maximum, wanted)
    if kind == "none":
        return np.maximum(reduce(np.maximum, wanted), 0)
    penalties = [
        value(made, gallery, m, admitted) for m in members if m not in range(24) and m[0] == "none"
    ]
    return reduce(np.minimum, wanted) - sum(penalties)


@settings(max_examples=60)
@given(st.data())
def test_compound_scores_are_exact(made: MadeRelease, data: st.DataObject) -> None:
    tree = data.draw(trees().filter(lambda t: leaves(t) <= 10))
    gallery = data.draw(st.sampled_from(["image", "text"]))
    limit = data.draw(st.integers(1, 80))
    bound = data.draw(st.none() | st.integers(0, ROWS))
    search = build(made.corpus, tree).among(gallery).limit(limit)
    search = search if bound is None else search.where(f"image_width < {bound}")
    result = search.run()
    samples = made.galleries[gallery].samples
    admitted = samples < (ROWS if bound is None else bound)
    scores = value(made, gallery, tree, admitted)
    found = np.searchsorted(samples, [int(each, 16) for each in result.rows["id"].to_pylist()])
    np.testing.assert_allclose(result.rows["_score"], scores[found], atol=1e-4)
    assert result.complete
    best = np.sort(scores[admitted])[::-1][:limit]
    np.testing.assert_allclose(result.rows["_score"], best, atol=1e-4)


@given(trees().filter(lambda t: leaves(t) <= 10), st.integers(0, 2**32 - 1))
def test_clauses_bound_the_scores(tree: Tree, seed: int) -> None:
    class Alone:
        def search(self, **arguments) -> Query:
            return Query.of(**arguments)

    compound = build(Alone(), tree).compound  # type: ignore[arg-type]
    assert compound is not None
    parts = np.random.default_rng(seed).normal(size=(leaves(tree), 30))
    clauses = [parts[list(clause)] for clause in compound.clauses()]
    lowest = np.max([each.min(axis=0) for each in clauses], axis=0)
    scores = compound.scores(list(parts))
    assert (scores <= lowest).all()
    if "none" not in str(tree):
        np.testing.assert_array_equal(scores, lowest)


def test_any_level_and_other_words(made: MadeRelease) -> None:
    tree: Tree = ("all", [0, ("any", [1, 14]), ("none", [2])])
    query = build(made.corpus, tree).limit(25)
    everything = np.ones(ROWS, bool)
    scores = np.concatenate(
        [value(made, m, tree, everything[: len(g.samples)]) for m, g in made.galleries.items()]
    )
    for level in ("any", "sample"):
        rows = query.among(level).to_list()
        assert rows[0]["_calibrated"] == pytest.approx(scores.max(), abs=1e-4)
    best = np.sort(scores)[::-1][:25]
    np.testing.assert_allclose(
        [row["_calibrated"] for row in query.among("any").to_list()], best, atol=1e-4
    )
    rows = query.to_list()
    assert query.range(rows[4]["_score"]).run().rows.num_rows == 5
    assert [r["id"] for r in query.offset(5).limit(5).to_list()] == [r["id"] for r in rows[5:10]]
    assert query.dedup(0.95).run().rows.num_rows == 25
    assert (np.diff([r["_fused"] for r in query.hybrid("zebra").to_list()]) <= 0).all()
    raw = query.correct("none").to_list()
    np.testing.assert_allclose([r["_bias"] for r in raw], 0, atol=1e-5)
    own = made.corpus.search(ids=rows[0]["id"])
    assert rows[0]["id"] not in [r["id"] for r in all_of(own, own).to_list()]
    with pytest.raises(errors.InputError, match="rescores"):
        query.correct("csls").run()
    with pytest.raises(errors.InputError, match="single text"):
        query.hybrid().run()
    with pytest.raises(errors.InputError, match="feedback"):
        query.like("x")


def test_rows_are_explained(made: MadeRelease) -> None:
    tree: Tree = ("all", [0, ("any", [1, 14]), ("none", [2])])
    query = build(made.corpus, tree)
    result = query.limit(5).run()
    raw = query.correct("none").limit(ROWS).to_arrow()["id"].to_pylist()
    for number, row in enumerate(result.rows.to_pylist()):
        explained = result.explain(number)
        first, second, third, fourth = explained.scores
        joined = min(first, max(second, third)) - max(fourth, 0)
        assert explained.score == pytest.approx(joined, abs=1e-4)
        assert explained.score == pytest.approx(row["_score"])
        assert explained.raw_rank == raw.index(row["id"]) + 1
        assert [(part.query, part.modality) for part in explained.parts] == [
            (0, "text"), (1, "text"), (2, "image"), (3, "text")
        ]  # fmt: skip
        explained.show()
    assert query.among("any").run().explain(0).rank == 1


@given(trees().filter(lambda t: leaves(t) <= 10))
def test_json_and_text(tree: Tree) -> None:
    class Alone:
        def search(self, **arguments) -> Query:
            return Query.of(**arguments)

    query = build(Alone(), tree).limit(7)  # type: ignore[arg-type]
    assert Query.from_json(query.to_json()) == query
    assert str(query).startswith(f"{tree[0]}_of(")
    assert str(query).count("search(") == leaves(tree)


def test_wrong_parts_are_typed_errors() -> None:
    one = Query.of(text="a dog")
    wrong = [
        lambda: all_of(), lambda: all_of("a dog"), lambda: all_of(none_of(one)),
        lambda: any_of(one, none_of(one)), lambda: none_of(none_of(one)),
        lambda: all_of(one.limit(3)), lambda: all_of(Query.of(text=["a", "b"])),
        lambda: all_of(*[one] * 17), lambda: all_of(all_of(*[one] * 9), all_of(*[one] * 9)),
        lambda: reduce(lambda query, _: all_of(query), range(5), one),
    ]  # fmt: skip
    for make in wrong:
        with pytest.raises(errors.InputError):
            make()


def deep(levels: int) -> object:
    return reduce(lambda inner, _: {"all": [inner]}, range(levels), 0)


TREES = [
    {}, {"all": []}, {"all": [0], "any": [1]}, {"all": [0]}, {"all": [0, 0]}, {"all": [0, 2]},
    {"all": [0, True]}, {"all": [0, "1"]}, {"all": [0, -1]}, {"none": [0, 1]}, {"each": [0, 1]},
    {"any": [0, {"none": [1]}]}, {"all": [{"none": [0, 1]}]}, {"all": [0, 1.0]}, {"all": [[0, 1]]},
    {"all": [0, 1] * 500}, {"all": 0}, [0, 1], "all", deep(5), deep(400), {"all": [0, None]},
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES)
def test_hostile_trees_are_typed_errors(tree: object) -> None:
    queries = [[{"text": "a"}], [{"text": "b"}]]
    with pytest.raises(errors.InputError):
        Query.from_json(json.dumps({"queries": queries, "compound": tree}))


def test_a_tree_needs_its_queries() -> None:
    with pytest.raises(errors.InputError):
        Query.from_json('{"inputs": [{"text": "a"}], "compound": {"all": [0]}}')
    many = [[{"vector": [1.0] * DIM, "modality": "text"}]] * 17
    with pytest.raises(errors.InputError, match="16"):
        Query.from_json(json.dumps({"queries": many, "compound": {"all": [*range(16)]}}))
