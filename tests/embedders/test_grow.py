"""Heads that grow: sums of pairs add up to learning anew, and trained heads do not forget."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.alignment.align import align
from embedders.alignment.grow import PairSet, SplitSums, compare, grow, reciprocal_ranks
from embedders.alignment.heads import Head
from embedders.alignment.linear_start import _solved, set_maps
from embedders.alignment.pair_sums import PairSums, mean_anchor, solve
from embedders.alignment.settings import Settings
from embedders.alignment.training import train
from embedders.encoder import unit_rows
from embedders.projection import Projection
from store.errors import InputError

WIDTH, DIM = 20, 12
QUICK = {"epochs": 30, "patience": 30, "batch": 100, "learning_rate": 1e-2, "dropout": 0.0}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drop(pairs: int, seed: int, world: int = 0, noise: float = 0.3) -> PairSet:
    """Pairs of a linear map; another world has another map and lies elsewhere."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(100 + world)
    centre, map_ = 3 * fixed.normal(size=WIDTH), fixed.normal(size=(WIDTH, DIM))
    inner = rng.normal(size=(pairs, WIDTH))
    y = inner @ map_ + noise * rng.normal(size=(pairs, DIM))
    held = rng.random(pairs) < 0.3
    return PairSet(
        (inner + centre).astype(np.float32),
        [unit_rows(y.astype(np.float32))],
        np.arange(pairs),
        np.ones(pairs, np.float32),
        held,
    )


def side(pairs: PairSet, two_sided: bool) -> np.ndarray:
    return pairs.anchors[0] if two_sided else mean_anchor(pairs.anchors)


METHODS = [("ridge", False), ("cca", False), ("cca", True)]


@pytest.mark.parametrize(("method", "two_sided"), METHODS)
@given(st.integers(0, 1000), st.lists(st.integers(1, 60), min_size=1, max_size=4), st.booleans())
@settings(max_examples=12, deadline=None)
def test_sums_of_drops_give_the_heads_of_all_pairs(
    method: str, two_sided: bool, seed: int, sizes: list[int], weighted: bool
) -> None:
    """Against `closed_form_maps`, which reads all pairs; fewer pairs than features too."""
    options = Settings(method=method, dim=8)
    drops = [drop(size + 4, seed + n, world=n) for n, size in enumerate(sizes)]
    rng = np.random.default_rng(seed)
    weights = [
        (rng.uniform(0.1, 1, len(d.x)) if weighted else np.ones(len(d.x))).astype(np.float32)
        for d in drops
    ]
    parts = [PairSums.of(d.x, side(d, two_sided), w) for d, w in zip(drops, weights, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    total = PairSums.from_tensors(total.tensors())
    x = np.concatenate([d.x for d in drops])
    y = np.concatenate([d.anchors[0] for d in drops])
    trust = torch.from_numpy(np.concatenate(weights))
    heads, maps = _solved(torch.from_numpy(x), [torch.from_numpy(y)], trust, two_sided, options)
    for own, each in zip(solve(total, two_sided, options), maps, strict=True):
        set_maps(heads, each)
        for head, expected, rows in zip(own, heads, (x, y), strict=False):
            ours, theirs = head(rows), expected.projection()(rows)
            # Components of canonical correlation have any sign: similarities are compared.
            assert np.abs(ours @ ours.T - theirs @ theirs.T).max() < 2e-3
        if not two_sided:
            assert np.abs(own[0](x) - heads[0].projection()(x)).max() < 2e-3


def test_pairs_of_other_widths_cannot_be_added() -> None:
    a, b = drop(20, 0), drop(20, 1)
    with pytest.raises(InputError, match="pairs of widths 20 \\+ 12 cannot be added"):
        PairSums.of(a.x, a.anchors[0]) + PairSums.of(b.x[:, 1:], b.anchors[0])


def test_a_missing_anchor_counts_nothing() -> None:
    pairs = drop(60, 0)
    pairs.anchors[0][::3] = np.nan
    sums = SplitSums.of(pairs, two_sided=False)
    assert sums.all.plain.weight == 40
    assert np.isfinite(sums.all.plain.scatter).all()


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_starts_from_the_projection_that_it_gave(kind: str) -> None:
    pairs = drop(200, 0)
    options = Settings(kind=kind, width=16, **QUICK)
    learned = align(pairs.x, pairs.anchors, **vars(options)).x
    other = drop(80, 1, world=1)
    head = Head(torch.from_numpy(other.x), DIM, options)
    head.load(learned)
    assert np.allclose(head.projection()(pairs.x), learned(pairs.x), atol=1e-4)
    wrong = Projection({"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)})
    with pytest.raises(InputError, match="linear of 3 to 2 numbers"):
        head.load(wrong)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_trained_heads_grow_without_forgetting(kind: str) -> None:
    old, new = drop(600, 0), drop(600, 1, world=1)
    options = Settings(kind=kind, width=32, **QUICK)
    heads = [align(old.x, old.anchors, **vars(options)).x]
    grown = grow(heads, old, new, settings=options)
    free = Settings(**{**vars(options), "keep": 0.0})
    naive, _, _ = train(
        new.x, new.anchors, new.labels, new.weights, new.held, False, free, start=heads
    )
    asked, other = drop(300, 2), drop(300, 3, world=1)
    before, after, forgot = (reciprocal_ranks(h, asked).mean() for h in (heads, grown.heads, naive))
    assert forgot < before - 0.15
    assert after > forgot + 0.1
    assert reciprocal_ranks(grown.heads, other).mean() > reciprocal_ranks(heads, other).mean() + 0.1
    assert not grown.new.loses
    assert grown.new.low > 0
    assert grown.figures["pairs"] == (~old.held).sum() + (~new.held).sum()
    assert compare(heads, naive, asked).loses


@pytest.mark.parametrize(("method", "two_sided"), METHODS)
def test_heads_in_closed_form_grow_to_what_all_pairs_give(method: str, two_sided: bool) -> None:
    old, new = drop(300, 0), drop(300, 1, world=1)
    options = Settings(method=method, dim=DIM)
    result = align(old.x, old.anchors, two_sided=two_sided, **vars(options))
    heads = [result.x] if result.y is None else [result.x, result.y]
    sums = SplitSums.of(old, two_sided)
    grown = grow(heads, old, new, settings=options, sums=sums)
    assert grown.sums is not None
    assert grown.sums.all.plain.weight == 600
    both = old + new
    everything = SplitSums.of(both, two_sided).all
    matches = [
        np.allclose(grown.heads[0](both.x), each[0](both.x), atol=1e-4)
        for each in solve(everything, two_sided, options)
    ]
    assert any(matches)
    assert grown.new.low > 0
    assert (grown.old.pairs, grown.new.pairs) > (30, 30)
    with pytest.raises(InputError, match="grow from the sums"):
        grow(heads, old, new, settings=options)


def test_too_few_held_out_pairs_are_an_error() -> None:
    old = drop(60, 0)
    alone = PairSet(old.x, old.anchors, old.labels, old.weights, np.zeros(60, bool))
    with pytest.raises(InputError, match="0 held-out pairs are too few"):
        grow([], old, alone, settings=Settings(method="ridge"), sums=SplitSums.of(old, False))
