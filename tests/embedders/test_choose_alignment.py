"""Few pairs: closed forms, the regulariser, the choice of a method, and learning curves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.alignment.align import align
from embedders.alignment.choose import choose, extrapolate, learning_curve
from embedders.alignment.closed_form import PENALTIES, cca_solutions, ridge_solutions
from embedders.alignment.groups import folds
from embedders.alignment.losses import structure_loss
from embedders.encoder import unit_rows
from store.errors import InputError

QUICK = {"epochs": 3, "patience": 3, "dim": 12}


@pytest.fixture(autouse=True)
def one_thread():
    """Run torch on one thread: a second one does not speed up matrices of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pairs(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of two encoders that see the same 12 numbers, each in its own way."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(seed + 1).normal(size=(count, 12))
    x, y = (
        common @ np.random.default_rng(part).normal(size=(12, 40))
        + noise * rng.normal(size=(count, 40))
        for part in (7, 8)
    )
    return x.astype(np.float32), unit_rows(y)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 40), st.integers(1, 12), st.integers(1, 12))
def test_canonical_correlation_is_that_of_its_definition(
    seed: int, count: int, width_x: int, width_y: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(count, width)) for width in (width_x, width_y))
    x, y = x - x.mean(0), y - y.mean(0)
    share = rng.random(count)
    cross = x.T @ ((share / share.sum())[:, None] * y)
    tensors = map(torch.from_numpy, (x, y, share))
    for penalty, (of_x, of_y) in zip(PENALTIES, cca_solutions(*tensors, 5), strict=True):
        roots = []
        for rows in (x, y):
            values, vectors = np.linalg.eigh(rows.T @ rows / count)
            roots.append(vectors / np.sqrt(values.clip(0) + penalty) @ vectors.T)
        u, s, vh = np.linalg.svd(roots[0] @ cross @ roots[1])
        k = min(5, width_x, width_y)
        expected = (roots[0] @ u[:, :k] * s[:k]) @ (vh[:k] @ roots[1])
        # The signs of components are free: both sides together have none.
        np.testing.assert_allclose(of_x.numpy().T @ of_y.numpy(), expected, atol=1e-6 / penalty)


def dense_structure(
    before: np.ndarray, after: np.ndarray, levels: int, temperature: float
) -> float:
    """The regulariser by loops over rows."""

    def neighbours(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(axis=0)
        p = np.zeros((len(rows), len(rows)))
        for i, a in enumerate(centred):
            for j, b in enumerate(centred):
                if i != j:
                    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                    p[i, j] = np.exp(cosine / temperature)
        return p / p.sum(axis=1, keepdims=True)

    def divergence(p: np.ndarray, q: np.ndarray) -> float:
        total = 0.0
        for a, b in zip(p.ravel(), q.ravel(), strict=True):
            middle = (a + b) / 2
            total += sum(v * np.log(v / middle) for v in (a, b) if v > 0) / 2
        return total / len(p)

    p, q = neighbours(before), neighbours(after)
    hops = range(1, levels + 1)
    power = np.linalg.matrix_power
    return sum(divergence(power(p, hop), power(q, hop)) / hop for hop in hops) / levels


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 8), st.integers(1, 4), st.floats(0.2, 2))
def test_the_regulariser_is_that_of_its_definition(
    seed: int, count: int, levels: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.normal(size=(count, 5)), rng.normal(size=(count, 3))
    found = structure_loss(*map(torch.from_numpy, (before, after)), levels, temperature)
    assert float(found) == pytest.approx(
        dense_structure(before, after, levels, temperature), abs=1e-6
    )


@pytest.mark.parametrize("method", ["ridge", "cca"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_closed_forms_recover_a_planted_map(method: str, two_sided: bool) -> None:
    x, y = pairs(150, 0.3)
    if two_sided and method == "ridge":
        with pytest.raises(InputError, match="use 'cca'"):
            align(x, y, two_sided=True, method=method)
        return
    learned = align(x, y, two_sided=two_sided, method=method, dim=12)
    assert learned.history == []
    assert learned.figures["x->y"]["r@1"] > 0.8  # 1 in 15 by chance
    same = align(x, y, two_sided=two_sided, method=method, dim=12)
    assert same.x.fingerprint == learned.x.fingerprint


def test_the_choice_takes_the_simplest_of_the_best() -> None:
    x, y = pairs(120, 0.5)
    chosen, tried = choose(x, [y], **QUICK)
    assert [each.name for each in tried][:2] == ["ridge", "cca of 64"]
    (used,) = (each for each in tried if each.chosen)
    best = max(tried, key=lambda each: each.mrr)
    assert used.mrr >= best.mrr - best.error
    assert all(t.mrr < best.mrr - best.error for t in tried[: tried.index(used)])
    assert chosen == {**QUICK, "method": "ridge"}  # the map is linear
    assert choose(x, [y], **QUICK) == (chosen, tried)
    both, tried = choose(x, [y], two_sided=True, **QUICK)
    assert [each.name for each in tried][:2] == ["cca", "linear"]
    assert both == {**QUICK, "method": "cca"}


def test_groups_are_in_one_fold() -> None:
    groups = np.repeat(np.arange(30), 4)
    parts = folds(groups, 5, 0)
    assert np.sum(parts, axis=0).tolist() == [1] * 120
    assert all(len(set(groups[p]) & set(groups[~p])) == 0 for p in parts)
    assert len(folds(np.array([0, 1, 1]), 5, 0)) == 2
    with pytest.raises(InputError, match="in common"):
        folds(np.zeros(9, int), 5, 0)


def test_the_learning_curve_rises_and_is_extrapolated() -> None:
    x, y = pairs(400, 6.0)
    curve = learning_curve(x, [y], method="ridge")
    assert [point.pairs for point in curve.points] == [40, 80, 160, 320]
    assert curve.gain is not None
    assert curve.low is not None
    assert curve.high is not None
    assert 0 <= curve.low < curve.gain < curve.high
    recalls = [point.recall for point in curve.points]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1] < recalls[-1] + curve.gain < 1
    nothing = learning_curve(x[:50], [y[:50]], method="ridge")
    assert nothing.gain is None
    assert [point.pairs for point in nothing.points] == [20, 40]


@given(st.floats(0.05, 0.95), st.floats(0.01, 1), st.integers(50, 5000))
def test_a_power_law_is_extrapolated_as_it_is(scale: float, slope: float, more: int) -> None:
    sizes = np.array([50, 100, 200, 400])
    error = scale * (sizes / 50) ** -slope
    found = extrapolate(sizes, 1 - error, more, queries=10**9)
    assert found == pytest.approx(1 - scale * (more / 50) ** -slope, abs=1e-6)


def test_a_recall_that_falls_is_not_extrapolated() -> None:
    sizes = np.array([50, 100, 200])
    assert extrapolate(sizes, np.array([0.5, 0.4, 0.3]), 400, 100) == pytest.approx(0.4)
    assert extrapolate(sizes, np.ones(3), 400, 100) == 1


@pytest.mark.parametrize(
    "wrong", [{"method": "auto"}, {"method": None}, {"method": ["ridge"]}, {"method": "svm"}]
)
def test_unknown_methods_are_refused(wrong: dict) -> None:
    x, y = pairs(30, 0.1)
    with pytest.raises(InputError, match=r"method=.*allowed: contrastive, ridge, cca"):
        align(x, y, **wrong)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 12))
def test_ridge_regression_is_that_of_its_definition(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, weights = rng.normal(size=(count, width)), rng.normal(size=(count, 3)), rng.random(count)
    share = (weights / weights.sum())[:, None]
    mean = (share * y).sum(axis=0)
    solved = ridge_solutions(*map(torch.from_numpy, (x, y, weights)))
    for penalty, (found, offset) in zip(PENALTIES, solved, strict=True):
        system = x.T @ (share * x) + penalty * np.eye(width)
        expected = np.linalg.solve(system, x.T @ (share * (y - mean)))
        np.testing.assert_allclose(found.numpy().T, expected, atol=1e-6 / penalty)
        np.testing.assert_allclose(offset.numpy(), mean)
