"""The process that encodes few parts: its results, and what happens when it dies."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import NoReturn

import numpy as np
import pytest

from embedders.pool.one_process import EncodingProcess, OneProcess
from embedders.pool.pool import Pool
from embedders.pool.worker import UnitResult
from embedders.registry import load_encoder
from store.errors import EncoderError

MODULE = "python:tests.helpers.encoders:"


class UnexpectedPool(Pool):
    """A pool that must not start."""

    def __enter__(self) -> NoReturn:
        raise AssertionError("the process died")


def one_process(encoder: str, pool: type[Pool] = UnexpectedPool) -> OneProcess:
    return OneProcess(MODULE + encoder, partial(pool, MODULE + encoder))


def encode(process: OneProcess, *units: list[str]) -> Iterator[UnitResult]:
    """Encode units of texts; the id of a part is its text."""
    reads = ((str(n), lambda unit=unit: [(t, t) for t in unit]) for n, unit in enumerate(units))
    yield from process.map(reads)


def test_results_are_those_of_the_encoder_and_bad_parts_fail_alone() -> None:
    good = [f"text {n}" for n in range(40)]
    with one_process("Poisoned") as process:
        first, second = encode(process, [*good, "raise", "nan", "unreadable"], ["more"])
    assert sorted(first.ids) == sorted(good)
    direct = load_encoder(f"{MODULE}Hashing").encode(first.ids)
    np.testing.assert_allclose(first.vectors, direct, atol=1e-6)
    rules = {part: error.rule for part, error in first.failed}
    assert rules == {"raise": "encoder.error", "nan": "encoder.nan", "unreadable": "text.test"}
    assert (first.name, second.name, second.ids) == ("0", "1", ["more"])


@pytest.mark.parametrize(
    ("encoder", "message"),
    [("broken", "no weights here"), ("Absent", "Absent"), ("Narrow", "not ")],
)
def test_an_encoder_that_does_not_work_raises(encoder: str, message: str) -> None:
    with one_process(encoder) as process, pytest.raises(EncoderError, match=message):
        list(encode(process, ["a", "b"]))


def test_a_unit_that_cannot_be_read_raises() -> None:
    def read() -> NoReturn:
        raise ConnectionError("the disk is gone")

    with one_process("Hashing") as process, pytest.raises(ConnectionError, match="the disk"):
        list(process.map([("unit", read)]))


def test_the_process_ends_with_the_block() -> None:
    with one_process("Hashing") as process:
        assert [r.ids for r in encode(process, ["a"])] == [["a"]]
        pid = process._process.pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_encoders_share_a_process_one_after_the_other() -> None:
    with EncodingProcess() as shared:
        ids = []
        for encoder in ("Hashing", "Poisoned", "Hashing"):
            pool = partial(UnexpectedPool, MODULE + encoder)
            with OneProcess(MODULE + encoder, pool, process=shared) as process:
                (result,) = encode(process, [encoder, "nan"])
            ids.append((shared.pid, result.ids))
    assert {pid for pid, _ in ids} == {ids[0][0]}
    assert [parts for _, parts in ids] == [["Hashing", "nan"], ["Poisoned"], ["Hashing", "nan"]]


def test_a_pool_encodes_what_is_left_when_the_process_dies(ray_cluster: None) -> None:
    with one_process("Hashing", Pool) as process:
        results = encode(process, ["a"], ["b"], ["c"])
        ids = next(results).ids
        os.kill(process._process.pid or 0, signal.SIGKILL)
        ids += [part for result in results for part in result.ids]
    assert sorted(ids) == ["a", "b", "c"]


def test_a_pool_encodes_what_is_left_when_it_takes_long(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedders.pool.one_process.ALONE_SECONDS", 0.0)
    entered = []

    class Counted(Pool):
        def __enter__(self) -> Pool:
            entered.append(self)
            return super().__enter__()

    with one_process("Hashing", Counted) as process:
        results = encode(process, ["a"], ["b"], ["c"])
        assert next(results).ids == ["a"]
        assert not entered
        assert sorted(part for result in results for part in result.ids) == ["b", "c"]
    assert len(entered) == 1
