"""Expansion gives what its formula gives on dense matrices."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isotrope import all_of, errors
from store.search.expand import FRONTIER, NEAREST
from store.search.page_rank import personalised_page_rank
from store.search.query import Query
from tests.helpers.made_release import MadeRelease, make_release, unit

QUERIES = unit(np.random.default_rng(4), 20)
ROWS, LISTED = 240, 100
Node = tuple[str, int]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRelease:
    return make_release(tmp_path_factory.mktemp("expand"), ROWS)


def dense_page_rank(weights: np.ndarray, restart: np.ndarray, alpha: float) -> np.ndarray:
    """The solution of the linear system; nodes without edges start again."""
    both = weights + weights.T
    degree = both.sum(axis=1)
    walk = np.where(degree[:, None] > 0, both / np.where(degree > 0, degree, 1)[:, None], restart)
    return np.linalg.solve(np.eye(len(restart)) - alpha * walk.T, (1 - alpha) * restart)


@given(st.data())
def test_page_rank_solves_its_equation(data: st.DataObject) -> None:
    nodes = data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    edges = data.draw(st.integers(0, 30))
    start, end = rng.integers(0, nodes, (2, edges))
    weight, restart = rng.random(edges) + 1e-3, rng.random(nodes)
    restart[rng.random(nodes) < 0.3] = 0
    restart = np.ones(nodes) / nodes if not restart.sum() else restart / restart.sum()
    alpha = data.draw(st.floats(0, 0.95))
    weights = np.zeros((nodes, nodes))
    np.add.at(weights, (start, end), weight)
    rank = personalised_page_rank(start, end, weight, restart, alpha)
    np.testing.assert_allclose(rank, dense_page_rank(weights, restart, alpha), atol=1e-8)
    assert rank.sum() == pytest.approx(1)


def dense_expansion(
    made: MadeRelease, listed: list[Node], hops: int, alpha: float, bound: int
) -> dict[Node, float]:
    """The formula of `store.search.expand` with all scores, for the first `bound` samples."""
    nodes = dict.fromkeys(listed)
    edges: dict[tuple[Node, Node], float] = {}
    followed = 0
    for _ in range(hops):
        frontier = list(nodes)[followed : followed + FRONTIER]
        followed += len(frontier)
        for modality, sample in sorted(frontier, key=lambda node: node[0] != "image"):
            own = made.galleries[modality]
            row = int(np.searchsorted(own.samples, sample))
            scores = made.calibrated(modality, modality, own.items[row], own.samples < bound)
            scores[(own.samples >= bound) | (own.samples == sample)] = -np.inf
            near = np.argsort(-scores, kind="stable")[:NEAREST]
            weights = np.where(np.isfinite(scores[near]), np.maximum(scores[near], 0) ** 3, 0)
            for other, weight in zip(own.samples[near], weights, strict=True):
                if weight:
                    edge = (modality, sample), (modality, int(other))
                    edges[edge] = edges.get(edge, 0) + weight / weights.sum()
                    nodes[edge[1]] = None
            other = {"image": "text", "text": "image"}[modality]
            if sample in made.galleries[other].samples:
                edge = (modality, sample), (other, sample)
                edges[edge] = edges.get(edge, 0) + 1
                nodes[edge[1]] = None
    names = list(nodes)
    number = {node: n for n, node in enumerate(names)}
    weights = np.zeros((len(names), len(names)))
    for (start, end), weight in edges.items():
        weights[number[start], number[end]] = weight
    restart = np.zeros(len(names))
    restart[: len(listed)] = 1 / np.arange(1, len(listed) + 1)
    rank = dense_page_rank(weights, restart / restart.sum(), alpha)
    return dict(zip(names, rank, strict=True))


def names(rows: list[dict[str, Any]]) -> list[Node]:
    return [(row["modality"], int(row["id"], 16)) for row in rows]


@settings(max_examples=6, derandomize=True)  # near ties of neighbours would change the graph
@given(st.data())
def test_rows_have_the_rank_of_the_graph(made: MadeRelease, data: st.DataObject) -> None:
    level = data.draw(st.sampled_from(["image", "text", "any"]))
    vector = QUERIES[data.draw(st.integers(0, 19))]
    # Frontiers that are cut would be in the order in which nodes were reached.
    hops, alpha = data.draw(st.integers(1, 2)), data.draw(st.floats(0.05, 0.95))
    bound = data.draw(st.sampled_from([ROWS, 130]))
    search = made.corpus.search(vectors={"text": vector}).among(level)
    search = search if bound == ROWS else search.where(f"image_width < {bound}")
    listed = names(search.limit(LISTED).to_list())
    ranks = dense_expansion(made, listed, hops, alpha, bound)
    result = search.expand(hops, alpha).limit(LISTED).run()
    rows = result.rows.to_pylist()
    assert not result.complete
    expected = [ranks[node] for node in names(rows)]
    np.testing.assert_allclose([row["_expanded"] for row in rows], expected, rtol=1e-4, atol=1e-7)
    present = [rank for node, rank in ranks.items() if level in ("any", node[0])]
    best = np.sort(present)[::-1][: len(rows)]
    np.testing.assert_allclose([row["_expanded"] for row in rows], best, rtol=1e-4, atol=1e-7)
    single = search.limit(LISTED).to_list()
    scores = dict(zip(names(single), (row["_score"] for row in single), strict=True))
    for node, row in zip(names(rows), rows, strict=True):
        if node in scores:
            assert row["_score"] == pytest.approx(scores[node], abs=1e-5)


def test_expansion_joins_the_other_options(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"text": QUERIES[0]}).expand()
    own = made.corpus.search(ids=f"image-{5:032x}").expand(2, 0.9).limit(100)
    assert f"{5:032x}" not in [row["id"] for row in own.to_list()]
    hybrid = search.hybrid("zebra").among("any").to_list()
    assert (np.diff([row["_expanded"] for row in hybrid]) <= 0).all()
    assert {"_fused", "_text_score"} <= hybrid[0].keys()
    both = all_of(*(made.corpus.search(vectors={m: QUERIES[1]}) for m in ("text", "image")))
    assert len(both.expand().to_list()) == 10
    samples = [row["id"] for row in search.among("sample").limit(50).to_list()]
    assert len(set(samples)) == 50
    rows = search.to_list()
    assert [row["id"] for row in search.offset(3).limit(2).to_list()] == [
        row["id"] for row in rows[3:5]
    ]
    assert search.range(rows[4]["_expanded"]).run().rows.num_rows == 5
    batch = made.corpus.search(vectors={"text": QUERIES[:3]}).expand().to_arrow()
    assert batch.slice(0, 10)["id"].to_pylist() == [row["id"] for row in rows]
    with pytest.raises(errors.InputError, match="rescores"):
        search.correct("csls").run()
    assert search.where("image_width < 0").run().rows.num_rows == 0


def test_the_option_is_written_planned_and_checked(made: MadeRelease) -> None:
    search = made.corpus.search(vectors={"image": QUERIES[0]}).expand(2, 0.25)
    assert Query.from_json(search.to_json()) == search.value
    assert "expand(2, 0.25)" in str(search)
    plan = search.explain()
    assert plan.exact is False
    assert any("graph" in step for step in plan.steps)
    for wrong in ((0, 0.5), (4, 0.5), (1, 0), (1, 0.99), (1.5, 0.5), (1, float("nan"))):
        with pytest.raises(errors.InputError, match="expand"):
            search.expand(*wrong)
