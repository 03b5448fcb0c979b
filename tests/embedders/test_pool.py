"""The actor pool on a real local Ray: its results, and what it does when processes die."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import ray

from embedders.pool.pool import Pool
from embedders.pool.ray_cluster import cluster
from embedders.pool.resources import Resources
from embedders.registry import load_encoder
from store.cores import core_count
from store.errors import EncoderError
from tests.helpers.encoders import DIM

MODULE = "python:tests.helpers.encoders:"


@dataclass(frozen=True)
class Texts:
    """Reads a unit of texts; each part's id contains its text."""

    texts: tuple[str, ...]

    def __call__(self) -> list[tuple[str, str]]:
        return [(f"id of {text}", text) for text in self.texts]


@dataclass(frozen=True)
class Unreadable:
    """Fails to read a unit."""

    def __call__(self) -> list[tuple[str, str]]:
        raise OSError("the disk is gone")


@pytest.fixture(scope="module")
def local_ray():
    with cluster():
        yield


def embed(
    encoder: str, units: list[tuple[str, ...]], **options
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Encode units of texts in a pool; return vectors and failures' rules, both by text."""
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


def assert_equal_to_encoder(vectors: dict[str, np.ndarray]) -> None:
    direct = load_encoder(f"{MODULE}Hashing").encode(list(vectors))
    np.testing.assert_allclose(np.stack(list(vectors.values())), direct, atol=1e-5)


def test_vectors_equal_those_of_the_encoder_without_a_pool(local_ray):
    units = [tuple(f"text {unit} {n}" for n in range(7)) for unit in range(9)]
    vectors, failed = embed("Hashing", units, actors=2, batch_size=3)
    assert failed == {}
    assert set(vectors) == {text for unit in units for text in unit}
    assert_equal_to_encoder(vectors)


@pytest.mark.slow
def test_an_actor_may_take_every_cpu(local_ray):
    vectors, _ = embed("Hashing", [(), ("a", "b")], num_cpus=os.cpu_count())
    assert set(vectors) == {"a", "b"}


@pytest.mark.parametrize(("actors", "num_cpus"), [(1, None), (1, 1)])
def test_actors_without_a_gpu_use_all_cores_unless_a_number_is_set(local_ray, actors, num_cpus):
    vectors, _ = embed("Threads", [("a",)], actors=actors, num_cpus=num_cpus)
    cores = min(int(ray.cluster_resources()["CPU"]), core_count())
    expected = max(1, cores // actors) if num_cpus is None else num_cpus
    assert vectors["a"].tolist() == [expected] * DIM


def test_a_bad_part_fails_alone(local_ray):
    good = tuple(f"text {n}" for n in range(10))
    bad = ("raise", "nan", "unreadable")
    vectors, failed = embed("Poisoned", [good[:5] + bad + good[5:], ("more",)])
    assert set(vectors) == {*good, "more"}
    assert failed == {
        "raise": "encoder.error",
        "nan": "encoder.nan",
        "unreadable": "text.test",
    }
    assert_equal_to_encoder(vectors)


@pytest.mark.slow
def test_a_part_that_kills_its_actor_fails_alone(local_ray):
    vectors, failed = embed("Poisoned", [("a", "b", "kill", "unreadable"), ("c",)])
    assert set(vectors) == {"a", "b", "c"}
    assert failed == {"kill": "encoder.crash", "unreadable": "text.test"}
    assert_equal_to_encoder(vectors)


@pytest.mark.slow
def test_a_part_that_kills_the_process_that_prepares_it_fails_alone(local_ray):
    units = [("a", "kill while preparing", "b", "unreadable"), ("c",)]
    vectors, failed = embed("Poisoned", units)
    assert set(vectors) == {"a", "b", "c"}
    assert failed == {"kill while preparing": "encoder.crash", "unreadable": "text.test"}


@pytest.mark.slow
def test_an_actor_whose_device_is_broken_is_replaced(local_ray):
    vectors, failed = embed("Asserting", [("a", "assert", "b"), ("c",), ("d",)])
    assert set(vectors) == {"a", "b", "c", "d"}
    assert failed == {"assert": "encoder.crash"}


def test_a_part_whose_cost_is_not_a_positive_number_fails_alone(local_ray):
    vectors, failed = embed("Costless", [("a", "nothing", "nan", "b")])
    assert set(vectors) == {"a", "b"}
    assert failed == {"nothing": "encoder.cost", "nan": "encoder.cost"}


def test_no_part_fails_if_an_actor_is_killed_from_outside(local_ray, tmp_path):
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
    assert_equal_to_encoder(vectors)


def test_units_are_taken_only_as_they_are_needed(local_ray):
    taken = []

    def units():
        for n in range(50):
            taken.append(n)
            yield str(n), Texts((f"text {n}",))

    with Pool(f"{MODULE}Hashing") as pool:
        next(pool.map(units()))
    assert len(taken) < 15


def test_actors_that_do_not_fit_the_cluster_raise_at_once(local_ray):
    with pytest.raises(EncoderError, match="1 actors of 1 CPU and 1000 GPU"):
        Pool(f"{MODULE}Hashing", num_gpus=1000).__enter__()
    with pytest.raises(EncoderError, match="room for"):
        Pool(f"{MODULE}Hashing", actors=1000).__enter__()


def test_a_share_of_more_than_one_gpu_raises(local_ray):
    with pytest.raises(EncoderError, match=r"1\.5 GPU: engine.ray.num_gpus is a share"):
        Pool(f"{MODULE}Hashing", num_gpus=1.5).__enter__()


@pytest.mark.parametrize(
    ("encoder", "message"), [("broken", "no weights here"), ("Absent", "Absent")]
)
def test_an_encoder_that_cannot_be_made_raises(local_ray, encoder, message):
    with pytest.raises(EncoderError, match=message):
        Pool(MODULE + encoder).__enter__()


def test_an_encoder_of_the_wrong_width_stops_the_pool(local_ray):
    with pytest.raises(EncoderError, match=r"\(2, 4\), not \(2, 8\)"):
        embed("Narrow", [("a", "b")])


def test_a_unit_that_cannot_be_read_stops_the_pool(local_ray):
    with Pool(f"{MODULE}Hashing") as pool:
        assert list(pool.map([])) == []
        with pytest.raises(OSError, match="the disk is gone"):
            list(pool.map([("unit", Unreadable())]))


@pytest.mark.parametrize(
    ("cpus", "gpus", "num_cpus", "num_gpus", "room"),
    [
        (8, 0, 1, 0, 8),
        (8, 0, 3, 0, 2),
        (8, 2, 1, 1, 2),
        (16, 2, 1, 0.25, 8),
        (4, 2, 1, 0.25, 4),
        (16, 2, 1, 0.4, 4),  # two on each GPU: a share is never taken from both
        (16, 5, 1, 2, 2),
        (16, 0, 1, 0.25, 0),
    ],
)
def test_room_for_actors(cpus, gpus, num_cpus, num_gpus, room):
    assert Resources(num_cpus, num_gpus).capacity({"CPU": cpus, "GPU": gpus}) == room


SHARED_GPU = """
import ray
from tests.embedders.test_pool import MODULE, count_encoded
from embedders.pool.pool import Pool
# Ray is told that it has a GPU. It only counts shares; no device is used.
ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
assert count_encoded(Pool(f"{MODULE}Hashing", actors=4, num_cpus=0.5, num_gpus=0.25)) == 9
"""
TWO_NODES = """
import os
import ray
from ray.cluster_utils import Cluster
from tests.embedders.test_pool import MODULE, count_encoded
from embedders.pool.pool import Pool
cluster = Cluster()
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
cluster.wait_for_nodes()
os.environ["RAY_ADDRESS"] = cluster.address
assert count_encoded(Pool(f"{MODULE}Hashing", actors=2)) == 9  # one CPU each, so one on each node
cluster.shutdown()
"""


def count_encoded(pool: Pool) -> int:
    with pool:
        units = ((str(n), Texts((f"text {n}",))) for n in range(9))
        return sum(len(result.ids) for result in pool.map(units))


@pytest.mark.slow
@pytest.mark.parametrize("script", [SHARED_GPU, TWO_NODES], ids=["shared gpu", "two nodes"])
def test_shared_gpus_and_several_nodes(script: str):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
