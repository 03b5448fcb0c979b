"""The searches for near-copies as Ray tasks: the same tables as in one process, row by row."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.lists import add
from benchmarks.planted_texts import filled, planted
from pipelines.duplicates import audio, near, semantic
from pipelines.duplicates.images import crops, feature_crowds
from pipelines.duplicates.pair_joins import Block
from pipelines.duplicates.stage import find_duplicates
from pipelines.duplicates.texts import band_ranges, minhash, near_texts
from pipelines.engine.duckdb_scratch import database
from pipelines.engine.kept_values import Kept
from pipelines.engine.ray_tasks import After, kept_in_order, kept_parts, streams_in_order
from pipelines.engine.shared_rows import SharedRows
from pipelines.signals.scorer import DecodedImage
from pipelines.signals.scorers.image_local import FEATURES, score
from pipelines.stages.context import StageContext
from store.tables.signals import VIEW
from store.workspace import Workspace
from tests.pipelines.duplicates.test_duplicates import scene

pytestmark = pytest.mark.usefixtures("ray_cluster")
_CONFIG = """\
sources: {s: {path: drops}}
duplicates: {image: 31, crops: 0.8, text: 0.7, parts: every}
"""
_TABLES = {
    "duplicates": ["cluster", "kind", "drop", "id", "representative", "similarity"],
    "near_pairs": ["kind", "a", "b", "similarity"],
    "compared": ["kind", "node"],
    "minhashes": ["node", "signature"],
}


def make_corpus(root: Path, texts: list[str]) -> Workspace:
    """Samples with texts and hashes of images: one in ten is a copy of the one before."""
    root.mkdir()
    (root / "corpus.yaml").write_text(_CONFIG)
    workspace = Workspace.open(root)
    add_samples(workspace, texts, 0, len(texts) - 500)
    return workspace


def local_features(number: int) -> dict[str, bytes]:
    """Random keypoints and pixels of two in thirty: those of 29 are copies of those of 28."""
    rng = np.random.default_rng(number - (number % 30 == 29))
    record, count = np.zeros((), FEATURES), 40 * (number % 30 >= 28)
    record["count"], record["width"], record["height"] = count, 256, 256
    for name in ("bits", "x", "y", "size", "angle"):
        value = record["keypoints"][name][:count]
        value[:] = rng.integers(0, np.iinfo(value.dtype).max, value.shape)
    view = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    return {"image_keypoints": record.tobytes(), "image_view": view.tobytes()}


def add_samples(workspace: Workspace, texts: list[str], start: int, stop: int) -> None:
    def columns(numbers: range) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        hashes = rng.integers(0, 256, (len(texts), 512), np.uint8)
        hashes[9::10] = hashes[8::10][: len(hashes[9::10])]
        hashes[9::10, ::64] ^= 1
        looks = rng.integers(0, 2, len(texts), np.uint8) * 255
        looks[9::10] = looks[8::10][: len(looks[9::10])]
        of_parts = [local_features(n) for n in numbers]
        return {
            **{name: [each[name] for each in of_parts] for name in of_parts[0]},
            "text": [texts[n] for n in numbers],
            "text_chars": [len(texts[n]) for n in numbers],
            "image_copies": [hashes[n].tobytes() for n in numbers],
            "image_look": [bytes([looks[n]]) * (32 * 32 * 3) for n in numbers],
            "image_pdq_quality": [100] * len(numbers),
            "scorers": ["image_copies@1 image_local@1"] * len(numbers),
        }

    add(workspace, start, stop, "a", columns)


def rows_of(workspace: Workspace, table: str) -> list[tuple[Any, ...]]:
    columns = workspace.tables.open(table).to_table(columns=_TABLES[table])
    return sorted(zip(*(columns[name].to_pylist() for name in _TABLES[table]), strict=True))


def test_the_tables_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    # Planted copies, and texts of one template, which are all in one bucket of most bands.
    texts = [*planted(1000, seed=1).texts[:1000], *filled(500, rng)]
    texts = [texts[n] for n in rng.permutation(len(texts))] + ["", "short", "\0 "]
    shared = list[int]()
    real = SharedRows.__init__

    def counting(self: SharedRows, rows: Any) -> None:
        shared.append(len(rows))
        real(self, rows)

    monkeypatch.setattr(SharedRows, "__init__", counting)
    results = []
    for name, worth in (("process", float("inf")), ("ray", -1.0)):
        monkeypatch.setattr(near, "_WORTH_CONNECTED", worth)
        workspace = make_corpus(tmp_path / name, texts)
        find_duplicates(StageContext(workspace))
        add_samples(workspace, texts, len(texts) - 500, len(texts))
        assert bool(shared) == (name == "ray")
        find_duplicates(StageContext(workspace))  # compares what is new with the rest
        results.append({table: rows_of(workspace, table) for table in _TABLES})
    assert results[0] == results[1]
    pairs = [row[0] for row in results[0]["near_pairs"]]
    assert pairs.count("image") > 100
    assert pairs.count("crops") > 30
    assert pairs.count("text") > 50


def as_sets(blocks: Any) -> set[tuple[int, int, float]]:
    found = set[tuple[int, int, float]]()
    for x, y, similarity in blocks:
        low, high = np.minimum(x, y).tolist(), np.maximum(x, y).tolist()
        found |= set(zip(low, high, similarity.tolist(), strict=True))
    return found


@pytest.mark.parametrize("first", [0, 900])
def test_vectors(tmp_path: Path, first: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1000, 16)).astype(np.float32)
    vectors[500:] = vectors[:500] + 0.1 * rng.normal(size=(500, 16))
    vectors[200:400] = vectors[200]  # one cell has many copies
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = []
    for on_ray in (False, True):
        folder = tmp_path / str(on_ray)
        folder.mkdir()
        found.append(as_sets(semantic.near_blocks(vectors, 0.9, folder, first, on_ray=on_ray)))
    assert len(found[0]) > 50
    assert {pair[:2] for pair in found[0]} == {pair[:2] for pair in found[1]}
    similarities = [{(x, y): s for x, y, s in pairs} for pairs in found]
    assert similarities[0] == pytest.approx(similarities[1], abs=1e-6)


@pytest.mark.parametrize("first", [0, 50])
def test_crops(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "_INDEXED", 25)
    monkeypatch.setattr(crops, "_NEW", 20)
    monkeypatch.setattr(feature_crowds, "_BLOCK", 40)
    scenes = [scene(number, 120) for number in range(30)]
    images = [*scenes, *(image.rotate(30 * n) for n, image in enumerate(scenes))]
    signals = [score(DecodedImage(image, False, b"")) for image in images]
    features = np.array([np.frombuffer(s["image_keypoints"], FEATURES)[0] for s in signals])
    views = np.array([np.frombuffer(s["image_view"], np.uint8) for s in signals])
    views = views.reshape(-1, VIEW, VIEW, 3)
    order = np.random.default_rng(0).permutation(len(images))
    found = [
        as_sets(
            crops.near_blocks(
                order, lambda n: features[n], lambda n: views[n], 0.7, first, on_ray=on_ray
            )
        )
        for on_ray in (False, True)
    ]
    assert found[0] == found[1]
    assert len(found[0]) >= 5


@pytest.mark.parametrize("first", [0, 50])
def test_recordings(tmp_path: Path, first: int) -> None:
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 1 << 32, 200, dtype=np.uint32) for _ in range(30)]
    codes += [c ^ np.where(rng.random(200) < 0.3, 4, 0).astype("<u4") for c in codes]
    fingerprints = [c.astype("<u4").tobytes() for c in codes]
    found = []
    for on_ray in (False, True):
        folder = tmp_path / str(on_ray)
        folder.mkdir()
        blocks = audio.near_blocks(
            lambda rows: [fingerprints[r] for r in rows], 60, 0.75, folder, first, on_ray=on_ray
        )
        found.append(as_sets(blocks))
    assert found[0] == found[1]
    assert len(found[0]) >= 10


@pytest.mark.parametrize(("of_one_template", "hashes"), [(False, 8000), (True, 8000), (True, 1)])
def test_a_task_whose_worker_is_killed_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_one_template: bool, hashes: int
) -> None:
    """With several rounds and ranges, of several bands or of one."""
    texts = planted(2000, seed=2).texts
    if of_one_template:  # most are in large buckets
        texts = filled(500, np.random.default_rng(0))
        texts += [text.upper() for text in texts[:100]]
    signed = minhash.signatures(texts)
    killed = tmp_path / "killed"

    def read(rows: np.ndarray) -> list[str]:
        return [texts[r] for r in rows]

    def read_or_die(rows: np.ndarray) -> list[str]:
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return read(rows)

    def near_pairs(read: Callable[[np.ndarray], list[str]], on_ray: bool) -> list[Block]:
        with database(tmp_path / "scratch") as connection:
            scratch = connection, tmp_path
            return list(near_texts.near_blocks(*scratch, signed, read, 0.7, on_ray=on_ray))

    expected = as_sets(near_pairs(read, False))
    for name, value in (("HELD", 400), ("_HASHES", hashes), ("_DIVIDED", 800), ("_PIECES", 8)):
        monkeypatch.setattr(band_ranges, name, value)
    assert as_sets(near_pairs(read_or_die, True)) == expected
    assert killed.exists()
    assert len(expected) > 50


def test_values_that_stay_in_the_store_are_those_of_tasks_that_were_done_again(
    tmp_path: Path,
) -> None:
    killed = tmp_path / "killed"

    def numbered(step: int, start: int) -> tuple[int, np.ndarray]:
        if start == 6 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return start, np.arange(start, min(start + step, 20))

    tasks = list(kept_in_order(numbered, 3, range(0, 20, 3), on_ray=True))
    assert killed.exists()
    assert [start for start, _ in tasks] == list(range(0, 20, 3))
    rows = SharedRows.of_blocks([block for _, block in tasks], 3, (20,), np.int64)
    assert rows[:].tolist() == list(range(20))
    assert rows[np.array([19, 0, 7, 7])].tolist() == [19, 0, 7, 7]
    in_process = list(kept_in_order(numbered, 3, range(0, 20, 3), on_ray=False))
    assert np.concatenate([block for _, block in in_process]).tolist() == list(range(20))


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("on_ray", [False, True])
def test_parts_are_those_of_tasks_that_were_done_again(
    tmp_path: Path, parts: int, on_ray: bool
) -> None:
    killed = tmp_path / "killed"

    def divided(base: int, number: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for part in range(parts):
            if on_ray and (number, part) == (2, parts - 1) and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield f"{number}", np.arange(number * part), np.full((2, 3), base + part)

    def read(_: None, of: list[Kept]) -> Iterator[list[Any]]:
        for kept in of:
            name, *arrays = kept.read()
            yield [name, *(array.tolist() for array in arrays)]

    kept = kept_parts(divided, 7, range(4), parts, tmp_path, on_ray=on_ray)
    tasks = [After([each[part] for each in kept.values], kept.done) for part in range(parts)]
    assert list(streams_in_order(read, None, tasks, on_ray=on_ray)) == [
        [str(number), list(range(number * part)), [[7 + part] * 3] * 2]
        for part in range(parts)
        for number in range(4)
    ]
    assert killed.exists() == on_ray


def test_shared_rows_are_read_as_those_of_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.shared_rows._BLOCK_BYTES", 7 * 24)
    values = np.arange(300, dtype=np.int64).reshape(100, 3)
    rows = SharedRows(values)
    assert len(rows) == 100
    for start, stop in ((0, 100), (0, 7), (3, 5), (6, 8), (95, 200), (50, 50), (60, 20)):
        assert np.array_equal(rows[start:stop], values[start:stop])
    for indices in ([], [99, 0, 0, 50], list(range(99, -1, -1))):
        chosen = np.array(indices, np.int64)
        assert np.array_equal(rows[chosen], values[chosen])
    assert len(SharedRows(values[:0])[:]) == 0
    assert pa.array(rows[:5][:, 0]).to_pylist() == [0, 3, 6, 9, 12]
