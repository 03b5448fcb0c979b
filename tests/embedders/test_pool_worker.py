"""The actor that encodes, in this process and without Ray: how it cuts units into batches."""

import os
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.encoder import cost_of
from embedders.pool.worker import EncoderActor, Prepared
from tests.helpers.encoders import Greedy, Hashing, Sized, Spoilt


def make_actor(monkeypatch, encoder, batch_size: int | None, num_gpus: float = 0) -> EncoderActor:
    """An actor in this process, which runs `encoder` and leaves the environment as it was."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    actor = EncoderActor("python:tests.helpers.encoders:Hashing", batch_size, 1, num_gpus)
    actor.encoder = encoder
    return actor


def prepared(encoder, texts: list[str]) -> Prepared:
    return Prepared(texts, texts, np.array([cost_of(encoder, text) for text in texts]))


@pytest.mark.parametrize(
    ("batch_size", "num_gpus", "batches"),
    [
        (None, 1, [32, 64, 128, 64, 64, 64, 12]),
        (None, 0, [32] * 9 + [12]),
        (150, 0, [150, 75, 75, 75, 75]),
    ],
)
def test_the_batch_size_adapts_to_memory(monkeypatch, batch_size, num_gpus, batches):
    greedy = Greedy()
    actor = make_actor(monkeypatch, greedy, batch_size, num_gpus)
    texts = [f"text {n}" for n in range(300)]
    encoded = actor.encode(prepared(greedy, texts))
    assert greedy.batches == batches
    assert encoded.ids == texts
    assert encoded.failed == []


@given(sizes=st.lists(st.integers(1, 120), min_size=1, max_size=60), budget=st.integers(1, 40))
def test_batches_fit_their_budget(sizes: list[int], budget: int):
    sized = Sized()
    texts = [f"{n:04d}" + "x" * size for n, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        encoded = make_actor(monkeypatch, sized, budget).encode(prepared(sized, texts))
    assert sorted(encoded.ids) == sorted(texts)
    np.testing.assert_array_equal(encoded.vectors, Hashing().encode(encoded.ids))
    assert sorted(text for batch in sized.batches for text in batch) == texts
    costs = [[sized.cost(text) for text in batch] for batch in sized.batches]
    assert all(len(batch) == 1 or len(batch) * max(batch) <= budget for batch in costs)
    # No batch could have taken the next input too.
    for batch, following in pairwise(costs):
        assert (len(batch) + 1) * following[0] > budget


def test_only_the_given_range_of_a_unit_is_encoded(monkeypatch):
    sized = Sized()
    texts = ["one", "three three", "two", "four"]
    encoded = make_actor(monkeypatch, sized, 32).encode(prepared(sized, texts), 1, 3)
    assert sorted(encoded.ids) == ["three three", "two"]


def test_a_part_that_makes_its_batch_nan_fails_alone(monkeypatch):
    texts = ["a", "b", "nan", "c", "d"]
    actor = make_actor(monkeypatch, Spoilt(), 32)
    encoded = actor.encode(prepared(Spoilt(), texts))
    assert sorted(encoded.ids) == ["a", "b", "c", "d"]
    assert [(part, error.rule) for part, error in encoded.failed] == [("nan", "encoder.nan")]
