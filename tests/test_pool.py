"""The actor pool on a real, local Ray: what it gives, and what happens when things die."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from encoders_for_tests import DIM, Greedy

from embedders.actor import Actor, Prepared
from embedders.cluster import cluster
from embedders.pool import Pool
from embedders.spaces import load
from store.errors import EncoderError

MODULE = "python:encoders_for_tests:"


@dataclass(frozen=True)
class Texts:
    """A unit's `load`: parts named after their texts."""

    texts: tuple[str, ...]

    def __call__(self) -> list[tuple[str, str]]:
        return [(f"id of {text}", text) for text in self.texts]


@dataclass(frozen=True)
class Unreadable:
    def __call__(self) -> list[tuple[str, str]]:
        raise OSError("the disk is gone")


@pytest.fixture(scope="module")
def ray_here():
    with cluster():
        yield


def embed(encoder: str, units: list[tuple[str, ...]], **options):
    """Vectors by text, and the rules of the failures by text."""
    vectors, failed = {}, {}
    with Pool(MODULE + encoder, **options) as pool:
        for result in pool.map((str(n), Texts(texts)) for n, texts in enumerate(units)):
            assert result.vectors.shape == (len(result.ids), DIM)
            assert result.vectors.dtype == np.float32
            vectors |= dict(zip(result.ids, result.vectors, strict=True))
            failed |= {part: error.rule for part, error in result.failed}
    return (
        {part.removeprefix("id of "): v for part, v in vectors.items()},
        {part.removeprefix("id of "): rule for part, rule in failed.items()},
    )


def assert_same_as_direct(vectors: dict[str, np.ndarray]) -> None:
    direct = load(f"{MODULE}Hashing").encode(list(vectors))
    np.testing.assert_allclose(np.stack(list(vectors.values())), direct, atol=1e-5)


def test_units_come_out_as_encoded_directly(ray_here):
    units = [tuple(f"text {unit} {n}" for n in range(7)) for unit in range(9)]
    vectors, failed = embed("Hashing", units, actors=2, batch_size=3)
    assert failed == {}
    assert set(vectors) == {text for unit in units for text in unit}
    assert_same_as_direct(vectors)


def test_an_actor_may_take_every_cpu(ray_here):
    vectors, _ = embed("Hashing", [(), ("a", "b")], num_cpus=os.cpu_count())
    assert set(vectors) == {"a", "b"}


def test_one_bad_part_costs_no_other(ray_here):
    good = tuple(f"text {n}" for n in range(10))
    poison = ("raise", "nan", "unreadable")
    vectors, failed = embed("Poisoned", [good[:5] + poison + good[5:], ("more",)])
    assert set(vectors) == {*good, "more"}
    assert failed == {
        "raise": "encoder.error",
        "nan": "encoder.nan",
        "unreadable": "text.test",
    }
    assert_same_as_direct(vectors)


def test_a_part_that_kills_the_actor_is_found(ray_here):
    vectors, failed = embed("Poisoned", [("a", "b", "kill", "unreadable"), ("c",)])
    assert set(vectors) == {"a", "b", "c"}
    assert failed == {"kill": "encoder.crash", "unreadable": "text.test"}
    assert_same_as_direct(vectors)


def test_a_part_that_kills_what_prepares_it_is_found(ray_here):
    units = [("a", "kill while preparing", "b", "unreadable"), ("c",)]
    vectors, failed = embed("Poisoned", units)
    assert set(vectors) == {"a", "b", "c"}
    assert failed == {"kill while preparing": "encoder.crash", "unreadable": "text.test"}


def test_an_actor_killed_from_outside_costs_nothing(ray_here, tmp_path):
    pid_file = tmp_path / "pid"
    killed = []

    def kill() -> None:
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.05)
        killed.append(int(pid_file.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    units = [tuple(f"text {unit} {n} @{pid_file}" for n in range(3)) for unit in range(4)]
    vectors, failed = embed("Slow", units)
    thread.join(1)
    assert killed
    assert int(pid_file.read_text()) != killed[0]
    assert failed == {}
    assert set(vectors) == {text for unit in units for text in unit}
    assert_same_as_direct(vectors)


def test_units_are_taken_as_they_are_needed(ray_here):
    taken = []

    def units():
        for n in range(50):
            taken.append(n)
            yield str(n), Texts((f"text {n}",))

    with Pool(f"{MODULE}Hashing") as pool:
        next(pool.map(units()))
    assert len(taken) < 15


def test_an_actor_that_does_not_fit_is_refused_at_once(ray_here):
    with pytest.raises(EncoderError, match="1 actors of 1 CPU and 1000 GPU"):
        Pool(f"{MODULE}Hashing", num_gpus=1000).__enter__()
    with pytest.raises(EncoderError, match="room for"):
        Pool(f"{MODULE}Hashing", actors=1000).__enter__()


@pytest.mark.parametrize(("encoder", "said"), [("broken", "no weights here"), ("Absent", "Absent")])
def test_an_encoder_that_cannot_be_made_is_refused(ray_here, encoder, said):
    with pytest.raises(EncoderError, match=said):
        Pool(MODULE + encoder).__enter__()


def test_an_encoder_of_the_wrong_width_stops_the_pool(ray_here):
    with pytest.raises(EncoderError, match=r"\(2, 4\), not \(2, 8\)"):
        embed("Narrow", [("a", "b")])


def test_a_unit_that_cannot_be_read_stops_the_pool(ray_here):
    with Pool(f"{MODULE}Hashing") as pool:
        assert list(pool.map([])) == []
        with pytest.raises(OSError, match="the disk is gone"):
            list(pool.map([("unit", Unreadable())]))


def actor_of_greedy(monkeypatch, batch_size: int | None, num_gpus: float) -> tuple[Actor, Greedy]:
    greedy = Greedy()
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr("embedders.actor.load", lambda spec: greedy)
    return Actor("greedy", batch_size, 1, num_gpus), greedy


@pytest.mark.parametrize(
    ("batch_size", "num_gpus", "batches"),
    [
        (None, 1, [32, 64, 128, 64, 64, 64, 12]),
        (None, 0, [32] * 9 + [12]),
        (150, 0, [150, 75, 75, 75, 75]),
    ],
)
def test_batch_size_follows_memory(monkeypatch, batch_size, num_gpus, batches):
    actor, greedy = actor_of_greedy(monkeypatch, batch_size, num_gpus)
    texts = [f"text {n}" for n in range(300)]
    encoded = actor.encode(Prepared(texts, texts, []))
    assert greedy.batches == batches
    assert encoded.ids == texts
    assert encoded.failed == []
