"""Coresets: greedy choices against dense references, cells, broken vectors, and a policy."""

import math
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.decisions.stage import decide
from pipelines.policy.coreset_cells import cells, choose
from pipelines.policy.coreset_greedy import (
    distances,
    facility_location,
    k_center,
    similarities,
)
from pipelines.policy.whatif import compare_policies
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.config.corpus_yaml import parse
from store.config.policy import Policy
from store.errors import ConfigError, InputError, NotFoundError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.paired_corpus import add_empty_signals, deliver, random_vectors, samples

COUNT = 48


def unit(rng: np.random.Generator, rows: int, dim: int = 6, missing: float = 0.0) -> np.ndarray:
    """Unit rows; a share of them is zero, as for missing parts."""
    x = rng.normal(size=(rows, dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x[rng.random(rows) < missing] = 0
    return x.astype(np.float32)


def represented(similarity: np.ndarray, rows: list[int]) -> float:
    """The sum over rows and modalities of the similarity to the best chosen row."""
    if not rows:
        return 0.0
    return float(similarity[rows].max(axis=0).sum(dtype=np.float64))


def greedy(similarity: np.ndarray, most: int) -> list[int]:
    """The greedy choice by computing every gain."""
    chosen: list[int] = []
    best = np.zeros(similarity.shape[1:], similarity.dtype)
    while len(chosen) < min(most, len(similarity)):
        gains = np.maximum(similarity - best, 0).sum(axis=2).astype(np.float64).sum(axis=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, similarity[chosen[-1]])
    return chosen


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 3), st.integers(1, 45))
def test_lazy_greedy_is_greedy(seed: int, rows: int, modalities: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.random((rows, modalities, rows)).astype(np.float32)
    if seed % 2:  # many equal gains
        similarity = np.round(similarity * 2) / 2
    picks = facility_location(similarity, most)
    assert picks.rows.tolist() == greedy(similarity, most)
    total = represented(similarity, picks.rows.tolist())
    assert picks.values.sum() == pytest.approx(total, rel=1e-5)
    assert picks.gains.sum() == pytest.approx(total, rel=1e-5)
    assert (np.diff(picks.values) <= 0).all()
    for row in set(range(rows)) - set(picks.rows.tolist()):
        gain = represented(similarity, [*picks.rows.tolist(), row]) - total
        assert picks.rest[row] == pytest.approx(gain, abs=1e-3)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(3, 9), st.integers(1, 3))
def test_choices_are_within_their_bounds_of_the_best(seed: int, rows: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = [unit(rng, rows, 3), unit(rng, rows, 4)]
    similarity, distance = similarities(vectors), distances(vectors)
    choices = [list(c) for c in combinations(range(rows), min(most, rows))]
    best = max(represented(similarity, c) for c in choices)
    chosen = facility_location(similarity, most).rows.tolist()
    assert represented(similarity, chosen) >= (1 - 1 / math.e) * best - 1e-5
    smallest = min(distance[c].min(axis=0).max() for c in choices)
    picks = k_center(distance, similarity, most)
    assert distance[picks.rows].min(axis=0).max() <= 2 * smallest + 1e-3
    assert (np.diff(picks.values) <= 0).all()


def test_k_center_chooses_the_farthest_row_again_and_again() -> None:
    vectors = [unit(np.random.default_rng(0), 30), unit(np.random.default_rng(1), 30)]
    distance = distances(vectors)
    picks = k_center(distance, similarities(vectors), 30)
    assert sorted(picks.rows.tolist()) == list(range(30))
    for n in range(1, 30):
        nearest = distance[picks.rows[:n]].min(axis=0)
        assert nearest[picks.rows[n]] == pytest.approx(nearest.max())
        assert picks.values[n] == pytest.approx(nearest.max())
    angle = max(math.acos(np.clip(v[3] @ v[7], -1, 1)) for v in vectors)
    assert distance[3, 7] == pytest.approx(angle, abs=1e-5)


def test_a_row_that_lacks_a_part_represents_none_of_that_modality() -> None:
    both, only_first = np.eye(2, dtype=np.float32), np.float32([[1, 0], [0, 0]])
    similarity = similarities([both[[0, 0]], only_first])
    assert similarity[:, 1].tolist() == [[1, 0], [0, 0]]
    assert facility_location(similarity, 1).rows.tolist() == [0]
    assert distances([both[[0, 0]], only_first]).tolist() == [[0, 0], [pytest.approx(np.pi), 0]]


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(["facility_location", "k_center"]))
def test_cells_are_chosen_from_as_if_at_once(seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = [unit(rng, 60, missing=0.2), unit(rng, 60, 5, missing=0.2)]
    usable = vectors[0].any(axis=1) | vectors[1].any(axis=1)
    rows = np.flatnonzero(usable)
    parts = list(cells(vectors, rows, 16))
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    assert max(map(len, parts)) <= 16
    chosen = choose(vectors, method, 20, usable, 16)  # type: ignore[arg-type]
    assert chosen.chosen.sum() == 20
    assert not chosen.chosen[~usable].any()
    similarity = similarities(vectors)
    inside = np.zeros((60, 60), bool)
    for part in parts:
        inside[np.ix_(part, part)] = True
    similarity *= inside[:, None]
    if method == "facility_location":
        assert np.flatnonzero(chosen.chosen).tolist() == sorted(greedy(similarity, 20))
    best = similarity[chosen.chosen].max(axis=0).sum(axis=1) / [v.any(1).sum() for v in vectors]
    assert chosen.coverage == pytest.approx(best.tolist(), rel=1e-4)
    assert chosen.values[chosen.chosen].min() == pytest.approx(chosen.least)
    assert chosen.values[usable & ~chosen.chosen].max() <= chosen.least + 1e-4


@pytest.mark.parametrize("method", ["facility_location", "k_center"])
def test_equal_rows_and_more_than_there_are(method: str) -> None:
    same = np.tile(np.float32([[0.6, 0.8]]), (40, 1))
    chosen = choose([same], method, 5, most_of_cell=8)  # type: ignore[arg-type]
    assert chosen.chosen.sum() == 5
    one_cell = choose([same], method, 3)  # type: ignore[arg-type]
    assert np.flatnonzero(one_cell.chosen).tolist() == [0, 1, 2]
    for most in (40, 10**30):
        everything = choose([same], method, most, most_of_cell=8)  # type: ignore[arg-type]
        assert everything.chosen.all()
        assert everything.coverage == pytest.approx([1], abs=1e-5)
    nothing = choose([np.zeros((0, 2), np.float32)], method, 3)  # type: ignore[arg-type]
    assert not nothing.chosen.size
    assert math.isnan(nothing.least)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Samples of four kinds, whose parts lack a vector in one case of nine or have a broken one."""
    rows = samples(COUNT, drops=["a"])
    vectors = random_vectors(rows)
    broken = [row["image_id"] for row in rows if "text_id" not in row][:2]
    for part, value in zip(broken, (np.nan, 3.0), strict=True):
        vectors[part] = np.full_like(next(iter(vectors.values())), value)
    workspace = deliver(tmp_path_factory.mktemp("coreset") / "corpus", rows, vectors)
    add_empty_signals(workspace)
    return workspace


def with_policy(workspace: Workspace, **coreset: object) -> Workspace:
    policy = Policy.model_validate({"coreset": coreset})
    return replace(workspace, config=workspace.config.model_copy(update={"policy": policy}))


def decided(workspace: Workspace) -> pa.Table:
    decide(StageContext(workspace))
    return workspace.tables.scan("decisions", schema.DECISIONS).sort_by("id")


@pytest.mark.parametrize("method", ["facility_location", "k_center"])
def test_decisions_name_the_value_of_each_rejected_sample(corpus: Workspace, method: str) -> None:
    table = decided(with_policy(corpus, count=10, method=method))
    rules = table["rule"].value_counts().to_pylist()
    counts = {r["values"]: r["counts"] for r in rules}
    assert counts[None] == 10
    assert set(counts) == {None, f"coreset.{method}", "coreset.no_vectors"}
    without = table.filter(pa.compute.equal(table["rule"], "coreset.no_vectors"))
    assert 2 <= without.num_rows < COUNT / 4
    assert without["value"].null_count == without.num_rows
    lost = table.filter(pa.compute.equal(table["rule"], f"coreset.{method}"))
    assert len(set(lost["threshold"].to_pylist())) == 1
    pairs = zip(lost["value"].to_pylist(), lost["threshold"].to_pylist(), strict=True)
    assert all(float(value) <= float(least) + 1e-3 for value, least in pairs)


def test_decisions_do_not_depend_on_the_order_of_rows(corpus: Workspace, tmp_path: Path) -> None:
    policy = {"share": 0.3}
    rows = corpus.tables.open("samples").to_table().to_pylist()[::-1]
    table = corpus.tables.open("vectors__trio").to_table().to_pylist()[::-1]
    again = deliver(tmp_path / "corpus", rows, {r["part_id"]: r["vector"] for r in table})
    add_empty_signals(again)
    first, second = (decided(with_policy(w, **policy)) for w in (corpus, again))
    assert first["id"].to_pylist() == second["id"].to_pylist()
    assert first["keep"].to_pylist() == second["keep"].to_pylist()
    available = first.num_rows - first["rule"].to_pylist().count("coreset.no_vectors")
    assert sum(first["keep"].to_pylist()) == math.ceil(available * 0.3)


def test_whatif_shows_how_well_each_modality_is_represented(corpus: Workspace) -> None:
    compared = compare_policies(with_policy(corpus, count=12), ("coreset.modalities=[image]",))
    figures = compared.figures
    assert set(figures) == {f"coreset: {m} represented" for m in ("image", "text", "audio")}
    both, alone = figures["coreset: image represented"]
    assert both is not None
    assert alone is not None
    assert 0 < both < alone <= 1  # an image that is chosen for images alone represents them better
    assert figures["coreset: text represented"][1] is None
    assert compared.kept == (12, 12)
    without = compare_policies(with_policy(corpus, count=12), ("coreset.count=",))
    assert without.kept == (12, COUNT)


def test_decisions_depend_on_the_vectors(corpus: Workspace) -> None:
    keys = {run_keys.decisions(StageContext(with_policy(corpus, count=n))) for n in (3, 3, 4)}
    assert len(keys) == 2
    plain = replace(
        corpus, config=corpus.config.model_copy(update={"policy": Policy.model_validate({})})
    )
    context = StageContext(with_policy(corpus, count=3))
    assert run_keys.decisions(context) != run_keys.decisions(StageContext(plain))


def test_what_cannot_be_compared_is_refused(corpus: Workspace, tmp_path: Path) -> None:
    text = "sources: {a: {path: .}}\npolicy: {coreset: {%s}}\n"
    for wrong in (
        *("", "count: 3, share: 0.1", "count: 0", "count: -1", "count: x", "share: 0"),
        *("share: 1.5", "share: .nan", "count: 3, method: best", "count: 3, modalities: video"),
        *("count: 3, seed: 0", "count: true and", "count: [3]"),
    ):
        with pytest.raises(ConfigError, match="coreset"):
            parse(text % wrong)
    parse(text % "share: 0.1, method: k_center, modalities: [image, text, image]")
    partial = corpus.config.spaces | {"trio": {"image": corpus.config.spaces["trio"]["image"]}}
    config = with_policy(corpus, count=3, modalities="text").config
    changed = replace(corpus, config=config.model_copy(update={"spaces": partial}))
    with pytest.raises(InputError, match=r"modalities: .* no tower of text; it has: image"):
        decide(StageContext(changed))
    bare = deliver(tmp_path / "bare", samples(4, ["a"]), {})
    add_empty_signals(bare)
    shutil.rmtree(bare.tables.uri("vectors__trio"))
    with pytest.raises(NotFoundError, match=r"no vectors in the space 'trio' yet"):
        decide(StageContext(with_policy(bare, count=3)))
