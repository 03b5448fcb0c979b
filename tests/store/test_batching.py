"""Concurrent queries are encoded in one batch, and each gets its own vectors or its own error."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from store.errors import EncoderError, InputError
from store.search.batching import MAX_BATCH, BatchedEncode


class Model:
    """Encodes a number as a vector of it. Records batches. The first waits for `start`."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.start = threading.Event()

    def __call__(self, space: str, config: Any, fingerprints: Any, inputs: Any) -> dict:
        self.batches.append((space, [v for values in inputs.values() for v in values]))
        self.start.wait(10)
        if any(v == "bad" for values in inputs.values() for v in values):
            raise InputError("bad")
        if any(v == "broken" for values in inputs.values() for v in values):
            raise EncoderError("broken")
        return {m: np.array([[v, v] for v in values], float) for m, values in inputs.items()}


def encode_all(encode: BatchedEncode, model: Model, calls: list[tuple[str, dict]]) -> list[Any]:
    """Encode one call, and all others while it is being encoded."""

    def one(call: tuple[str, dict]) -> Any:
        try:
            return encode(call[0], {}, {}, call[1])
        except (InputError, EncoderError) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(one, calls[0])]
        while not model.batches:
            time.sleep(0.001)
        futures += [pool.submit(one, call) for call in calls[1:]]
        while len(encode._waiting) < len(calls) - 1:
            time.sleep(0.001)
        model.start.set()
        return [future.result() for future in futures]


def test_calls_that_come_meanwhile_are_one_batch() -> None:
    model = Model()
    encode = BatchedEncode(model)
    calls = [("s", {"text": [n, n + 0.5], "image": [-n]}) for n in range(1, 11)]
    for (_, inputs), vectors in zip(calls, encode_all(encode, model, calls), strict=True):
        for modality, values in inputs.items():
            np.testing.assert_array_equal(vectors[modality][:, 0], values)
    assert [len(values) for _, values in model.batches] == [3, 27]
    assert (encode.batches, encode.inputs) == (2, 30)


def test_batches_are_bounded_and_of_one_space() -> None:
    model = Model()
    encode = BatchedEncode(model)
    calls = [("a" if n < 60 else "b", {"text": [n] * 3}) for n in range(70)]
    calls += [("b", {"text": list(range(MAX_BATCH + 10))})]
    for (_, inputs), vectors in zip(calls, encode_all(encode, model, calls), strict=True):
        np.testing.assert_array_equal(vectors["text"][:, 0], inputs["text"])
    assert all(len(v) <= MAX_BATCH or len(v) == MAX_BATCH + 10 for _, v in model.batches)
    assert len(model.batches) < 15


def test_a_bad_input_fails_its_own_query_alone() -> None:
    model = Model()
    calls = [("s", {"text": [n if n != 4 else "bad"]}) for n in range(8)]
    results = encode_all(BatchedEncode(model), model, calls)
    assert isinstance(results.pop(4), InputError)
    assert all(isinstance(vectors, dict) for vectors in results)


def test_a_broken_encoder_fails_the_whole_batch() -> None:
    model = Model()
    calls = [("s", {"text": [n if n != 4 else "broken"]}) for n in range(8)]
    results = encode_all(BatchedEncode(model), model, calls)
    assert isinstance(results[0], dict)
    assert all(isinstance(result, EncoderError) for result in results[1:])


@pytest.mark.parametrize("count", [1, 200])
def test_many_threads(count: int) -> None:
    model = Model()
    model.start.set()
    encode = BatchedEncode(model)
    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda n: encode("s", {}, {}, {"text": [n]}), range(count)))
    assert [int(r["text"][0, 0]) for r in results] == list(range(count))
    assert not encode._waiting
