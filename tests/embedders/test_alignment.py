"""Alignment on planted data: it recovers the planted map, and no group is in both splits."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedders.alignment.align import align, retrieval_figures
from embedders.alignment.closed_form import ridge_solutions
from embedders.alignment.groups import components, hold_out
from embedders.alignment.losses import ContrastiveLoss, structure_loss
from embedders.encoder import unit_rows
from embedders.projection import MLP, Projection, gelu
from store.errors import EncoderError, InputError

QUICK = {"epochs": 40, "patience": 40, "batch": 200, "learning_rate": 1e-2, "dropout": 0.0}


@pytest.fixture(autouse=True)
def one_thread():
    """Run torch on one thread: a second one does not speed up matrices of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planted_pairs(
    pairs: int = 400, dim_x: int = 24, dim_y: int = 12, noise: float = 0.02, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Random x, and y as unit rows of a linear map of it with some noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(pairs, dim_x)) * rng.uniform(0.1, 10, dim_x) + rng.normal(size=dim_x)
    y = (x - x.mean(0)) / x.std(0) @ rng.normal(size=(dim_x, dim_y))
    y += noise * y.std() * rng.normal(size=y.shape)
    return x.astype(np.float32), unit_rows(y)


def mlp(seed: int = 0) -> Projection:
    """A random projection from 6 to 4 dimensions."""
    rng = np.random.default_rng(seed)
    shapes = {
        "weight": (6, 4), "bias": (4,), "hidden_weight": (6, 5), "hidden_bias": (5,),
        "out_weight": (5, 4),
    }  # fmt: skip
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Projection(tensors, {"seed": seed, "data": {"stamps": "1"}})


def test_a_saved_projection_loads_as_it_was(tmp_path):
    rows = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    head = mlp()
    assert (head.kind, head.dim_in, head.dim) == ("mlp", 6, 4)
    head.save(tmp_path / "head.safetensors")
    loaded = Projection.load(tmp_path / "head.safetensors")
    assert loaded.meta == head.meta
    assert loaded.fingerprint == head.fingerprint != mlp(1).fingerprint
    np.testing.assert_array_equal(loaded(rows), head(rows))
    np.testing.assert_allclose(np.linalg.norm(head(rows), axis=1), 1, atol=1e-6)
    head.save(tmp_path / "half.safetensors", np.float16)
    np.testing.assert_allclose(
        Projection.load(tmp_path / "half.safetensors")(rows), head(rows), atol=5e-3
    )


def test_projections_equal_torch():
    rows = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    t = {name: torch.from_numpy(tensor) for name, tensor in mlp().tensors.items()}
    x = torch.from_numpy(rows)
    hidden = torch.nn.functional.gelu(x @ t["hidden_weight"] + t["hidden_bias"], approximate="tanh")
    out = x @ t["weight"] + t["bias"] + hidden @ t["out_weight"]
    expected = torch.nn.functional.normalize(out, dim=1).numpy()
    np.testing.assert_allclose(mlp()(rows), expected, atol=1e-5)
    assert gelu(np.float32(0)) == 0


def test_projections_raise_on_what_does_not_fit(tmp_path):
    with pytest.raises(InputError, match="rows of 6 numbers"):
        mlp()(np.zeros((2, 5), np.float32))
    with pytest.raises(InputError, match="has the tensors"):
        Projection({"weight": np.zeros((2, 2), np.float32)})
    for name in MLP[1:]:
        with pytest.raises(InputError, match="fit together"):
            Projection({**mlp().tensors, name: np.zeros((3, 3), np.float32)})
    with pytest.raises(InputError, match="finite"):
        Projection({**mlp().tensors, "bias": np.full(4, np.nan, np.float32)})
    for content in (None, b"", b"\x08\0\0\0\0\0\0\0{}      "):
        if content is not None:
            (tmp_path / "bad").write_bytes(content)
        with pytest.raises(EncoderError, match="is not a projection"):
            Projection.load(tmp_path / "bad")


def test_projections_load_without_torch(tmp_path):
    mlp().save(tmp_path / "head")
    script = (
        "import sys; from pathlib import Path; from embedders.projection import Projection;"
        f"print(Projection.load(Path({str(tmp_path / 'head')!r})).dim, 'torch' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "4 False"


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("two_sided", [False, True])
def test_a_planted_map_is_recovered(kind, loss, two_sided):
    x, y = planted_pairs()
    options = QUICK | ({"epochs": 150, "patience": 150} if loss == "sigmoid" else {})
    learned = align(x, y, kind=kind, loss=loss, two_sided=two_sided, dim=12, **options)
    assert (learned.y is not None) == two_sided
    assert learned.x.kind == kind
    assert learned.figures["x->y"]["r@1"] > 0.6  # 1 in 40 by chance
    assert learned.figures["y->x"]["r@1"] > 0.6
    assert learned.figures["pairs"] + learned.figures["validation_pairs"] == 400


def test_equal_arguments_give_equal_heads():
    x, y = planted_pairs(200)
    one, same, other = (align(x, y, seed=seed, **QUICK) for seed in (1, 1, 2))
    assert one.x.fingerprint == same.x.fingerprint != other.x.fingerprint
    assert one.history == same.history


def test_the_best_epoch_is_kept_and_training_ends():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(120, 60)), unit_rows(rng.normal(size=(120, 10)))
    learned = align(x, y, epochs=300, patience=5, learning_rate=1e-2)  # x and y are unrelated
    best = max(learned.history, key=lambda row: row["validation_mrr"])
    assert learned.figures["best_epoch"] == best["epoch"]
    assert len(learned.history) == best["epoch"] + 5 < 300
    assert learned.history[-1]["loss"] < learned.history[0]["loss"]


def test_structure_keeps_neighbourhoods():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(20, 32)) * 3
    x = centres[np.arange(300) % 20] + rng.normal(size=(300, 32))
    y = unit_rows(rng.normal(size=(300, 16)))  # unrelated to x: fitting it breaks up x's clusters
    losses = {}
    for weight in (0.0, 20.0):
        learned = align(x, y, structure=weight, **QUICK)
        rows = torch.from_numpy(x.astype(np.float32))
        losses[weight] = float(structure_loss(rows, torch.from_numpy(learned.x(x)), 3, 0.05))
    assert losses[20.0] < 0.7 * losses[0.0]


def test_the_structure_loss_is_zero_if_neighbourhoods_stay():
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    rotated = rows @ torch.linalg.qr(torch.randn(8, 8))[0] * 3 + 1
    assert float(structure_loss(rows, rotated, 3, 0.05)) < 1e-6
    assert float(structure_loss(rows, rows.flip(0), 3, 0.05)) > 0.05


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_pairs_of_one_group_are_not_wrong_answers_to_each_other(loss):
    y = torch.eye(4)[[0, 1, 2, 0]]  # the first and the last pair share their answer
    loss_of = ContrastiveLoss(loss)
    with torch.no_grad():
        same_group = loss_of(y, y, torch.tensor([0, 1, 2, 0]), torch.ones(4))
        separate_groups = loss_of(y, y, torch.tensor([0, 1, 2, 3]), torch.ones(4))
    assert same_group < 0.1 * separate_groups


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_pair_of_weight_zero_is_no_right_answer(loss):
    x, y = torch.eye(6), torch.eye(6, requires_grad=True)
    weights = torch.ones(6)
    weights[2] = 0
    ContrastiveLoss(loss)(x, y, torch.arange(6), weights).backward()
    assert y.grad is not None
    pulls = y.grad.diagonal().tolist()
    assert pulls[2] == 0
    assert all(pull < 0 for pull in pulls[:2] + pulls[3:])


@given(st.integers(0, 1000))
def test_weights_count_as_repeated_rows_in_closed_form(seed):
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.normal(size=(12, d))) for d in (4, 3))
    times = torch.from_numpy(rng.integers(1, 4, 12))
    weights = times.double() / 3
    rows = torch.arange(12).repeat_interleave(times)
    ones = torch.ones(len(rows), dtype=torch.float64)
    repeated = ridge_solutions(x[rows], y[rows], ones)
    for ours, theirs in zip(ridge_solutions(x, y, weights), repeated, strict=True):
        assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("weights", [np.ones(3), np.full(200, 2.0), np.full(200, np.nan)])
def test_wrong_weights_are_refused(weights):
    x, y = planted_pairs(200)
    with pytest.raises(InputError, match="200 numbers from 0 to 1"):
        align(x, y, weights=weights)


def test_a_third_modality_joins_by_several_anchors():
    x, y = planted_pairs(300)
    first, second = y.copy(), y.copy()
    first[::2], second[1::3] = np.nan, np.nan  # some pairs have one anchor, some both
    learned = align(x, [first, second], **QUICK)
    assert learned.figures["x->y0"]["r@1"] > 0.7
    assert learned.figures["x->y1"]["r@1"] > 0.7
    forward, _ = retrieval_figures(learned.x(x), y)
    assert forward["r@10"] > 0.9


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=40),
    st.integers(0, 5),
)
def test_no_group_is_in_both_splits(pairs, seed):
    columns = [np.array(column) for column in zip(*pairs, strict=True)]
    labels = components(columns, len(pairs))
    for column in columns:
        for value in np.unique(column):
            assert len(set(labels[column == value])) == 1
    for label in np.unique(labels):  # pairs of a component are connected
        members = set(np.flatnonzero(labels == label))
        reached, pending = set(), {min(members)}
        while pending:
            pair = pending.pop()
            reached.add(pair)
            pending |= {int(i) for c in columns for i in np.flatnonzero(c == c[pair])} - reached
        assert members == reached
    if len(np.unique(labels)) > 1:
        try:
            held_out = hold_out(labels, 0.5, seed)
        except InputError:
            return  # the first group that was drawn has more than the share
        assert 0 < held_out.sum() <= max(0.5 * len(pairs), 1)
        assert not set(labels[held_out]) & set(labels[~held_out])


def test_arguments_that_do_not_fit_raise():
    x, y = planted_pairs(50)
    partly_nan = y.copy()
    partly_nan[0, 0] = np.nan
    for arguments, message in (
        ((x[:40], y), "y must be 40 rows"),
        ((x, partly_nan), "missing, every value is NaN"),
        ((x * np.inf, y), "x must be finite"),
        ((x, [y, y[:, :5]]), "differ in width"),
    ):
        with pytest.raises(InputError, match=message), np.errstate(invalid="ignore"):
            align(*arguments)
    for options, message in (
        ({"kind": "cubic"}, "allowed: linear, mlp"),
        ({"loss": "hinge"}, "allowed: softmax, sigmoid"),
        ({"epochs": 0}, "at least 1"),
        ({"groups": np.zeros(50, int)}, "too few"),
        ({"groups": np.zeros(50)}, "must be integers"),
    ):
        with pytest.raises(InputError, match=message):
            align(x, y, **options)
    with pytest.raises(InputError, match="two-sided"):
        align(x, [y, y], two_sided=True)
