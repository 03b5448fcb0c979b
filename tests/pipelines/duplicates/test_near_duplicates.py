"""Searches for near-duplicates: against naive references, and on planted copies."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.duplicates import audio, semantic
from pipelines.duplicates.images import copies, hamming
from pipelines.duplicates.pair_joins import Pairs, collect_pairs, equal_join
from pipelines.duplicates.survivors import NearPairs, elect_survivors, rank_samples
from pipelines.engine.duckdb_scratch import temporary_database
from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorers.audio_fingerprint import Fingerprint
from pipelines.signals.scorers.image_copies import CROPS, LOOK, score
from tests.helpers.near_hashes import near_hashes
from tests.pipelines.duplicates.test_duplicates import scene

seeds = st.integers(0, 2**31)


def as_list(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def pairs_of(near: np.ndarray, first: int) -> list[tuple[int, int]]:
    """The pairs (a, b), a < b, of a symmetric matrix of booleans, with b at `first` or after it."""
    a, b = np.nonzero(np.triu(near, 1))
    return [(int(x), int(y)) for x, y in zip(a, b, strict=True) if y >= first]


@settings(max_examples=40)
@given(seeds, st.integers(0, 63), st.integers(0, 150))
def test_no_pair_of_hashes_within_the_radius_is_missed(seed: int, radius: int, first: int) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (150, 256), dtype=np.uint8)
    for row in range(50, 150):  # copies that differ in about as many bits as the radius
        bits[row] = bits[rng.integers(row)]
        bits[row, rng.permutation(256)[: rng.integers(0, radius + 4)]] ^= 1
    hashes = np.packbits(bits, axis=1)
    distance = (bits[:, None] != bits[None]).sum(axis=-1)
    tasks = hamming.within(len(hashes), radius, first)
    pairs = collect_pairs(near_hashes([hashes], radius, tasks), len(hashes))
    assert as_list(pairs) == pairs_of(distance <= radius, first)
    assert np.allclose(pairs.similarity, 1 - distance[pairs.a, pairs.b] / 256)


def test_the_bands_cover_all_bits_and_the_radius_for_any_number_of_hashes() -> None:
    for rows in (10, 10**4, 10**6, 10**8):
        bands = hamming.bands(31, rows)
        assert sum(flips + 1 for _, flips in bands) == 32
        assert sorted(b for bits, _ in bands for b in bits.tolist()) == list(range(256))


@settings(max_examples=20)
@given(seeds, st.floats(0.5, 0.99), st.integers(0, 400))
def test_no_pair_of_vectors_within_the_threshold_is_missed(
    seed: int, threshold: float, first: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(400, 8)).astype(np.float32)
    vectors[200:] = vectors[:200] + 0.15 * rng.normal(size=(200, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors.T
    with TemporaryDirectory() as folder:
        blocks = semantic.near_blocks(vectors, threshold, Path(folder), first)
        pairs = set(as_list(collect_pairs(blocks, len(vectors))))
    # Matrix products of other shapes differ in the last digits.
    assert set(pairs_of(cosine >= threshold + 1e-5, first)) <= pairs
    assert pairs <= set(pairs_of(cosine >= threshold - 1e-5, first))


def measure_image(image: Image.Image, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and thumbnail of an image that is saved and opened again."""
    out = io.BytesIO()
    image.save(out, **({"format": "PNG"} | options))
    signals = score(decode_reduced(out.getvalue()))
    hashes, thumbnail = (
        np.frombuffer(signals[n], np.uint8) for n in ("image_copies", "image_look")
    )
    return hashes.reshape(CROPS, 32), thumbnail.reshape(LOOK, LOOK, 3)


def near_images(
    images: list[tuple[np.ndarray, np.ndarray]], first: int = 0
) -> list[tuple[int, int]]:
    hashes, thumbnails = (np.stack(column) for column in zip(*images, strict=True))
    with temporary_database() as connection:
        of_crops = list(hashes.transpose(1, 0, 2))
        blocks = copies.near_blocks(connection, of_crops, thumbnails.__getitem__, 31, first)
        return as_list(collect_pairs(blocks, len(images)))


def test_planted_pictures_are_found() -> None:
    images: list[tuple[np.ndarray, np.ndarray]] = []
    for number in range(60):
        image = scene(number)
        width, height = image.size
        cut_x, cut_y = round(width * 0.05), round(height * 0.05)
        images += [
            measure_image(image),
            measure_image(image.resize((100, 100))),
            measure_image(image, format="JPEG", quality=40),
            measure_image(image.point(lambda v: min(255, round(v * 1.2)))),
            measure_image(image.convert("L")),
            measure_image(
                image.crop((cut_x // 2, cut_y // 2, width - cut_x // 2, height - cut_y // 2))
            ),
            measure_image(image.crop((0, 0, width - cut_x, height - cut_y))),
            measure_image(image.crop((cut_x, 0, width, height)), format="JPEG", quality=75),
        ]
    pairs = near_images(images)
    expected = [(a, b) for a in range(0, len(images), 8) for b in range(a + 1, a + 8)]
    assert len(set(expected) & set(pairs)) / len(expected) >= 0.95
    assert np.mean([a // 8 == b // 8 for a, b in pairs]) >= 0.99
    assert near_images(images, 320) == [p for p in pairs if p[1] >= 320]


def test_an_image_in_other_colours_is_not_a_copy() -> None:
    image = scene(1)
    red, green, blue = image.split()
    hashes, thumbnail = measure_image(image)
    _, grey = measure_image(image.convert("L"))
    _, painted = measure_image(Image.merge("RGB", (red, blue, green)))
    assert near_images([(hashes, thumbnail), (hashes, grey)]) == [(0, 1)]
    assert near_images([(hashes, thumbnail), (hashes, painted)]) == []


@settings(max_examples=30)
@given(seeds, st.integers(0, 40), st.integers(0, 60))
def test_no_pair_between_two_lists_of_hashes_is_missed(seed: int, radius: int, first: int) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (2, 60, 256), dtype=np.uint8)
    for row in range(60):  # copies that differ in about as many bits as the radius
        bits[1, row] = bits[0, rng.integers(60)]
        bits[1, row, rng.permutation(256)[: rng.integers(0, radius + 4)]] ^= 1
    one, other = np.packbits(bits, axis=2)
    distance = (bits[0][:, None] != bits[1][None]).sum(axis=-1)
    expected = {(int(x), int(y)) for x, y in zip(*np.nonzero(distance <= radius), strict=True)}
    pairs = set()
    tasks = hamming.between(len(one), radius, first)
    for x, y, similarity in near_hashes([one, other], radius, tasks):
        assert np.allclose(similarity, 1 - distance[x, y] / 256)
        pairs |= set(zip(x.tolist(), y.tolist(), strict=True))
    assert pairs == {pair for pair in expected if max(pair) >= first}


def make_tune(number: int, rate: int = 16_000) -> np.ndarray:
    """Plucked notes with overtones, and a little noise."""
    rng = np.random.default_rng(number)
    out = 0.02 * rng.normal(size=int(rng.uniform(2, 5) * rate))
    start = 0
    while start < len(out):
        note = out[start : start + int(rng.uniform(0.1, 0.5) * rate)]
        time, pitch = np.arange(len(note)) / rate, rng.uniform(220, 1600)
        for overtone in range(1, 6):
            note += np.sin(2 * np.pi * pitch * overtone * time) / overtone * np.exp(-4 * time)
        start += len(note)
    return (out / np.abs(out).max() / 2).astype(np.float32)


def fingerprint(samples: np.ndarray, encoding: tuple[str, str] | None = None) -> bytes:
    if encoding:
        out = io.BytesIO()
        soundfile.write(out, samples, 16_000, format=encoding[0], subtype=encoding[1])
        samples, _ = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32")
    listener = Fingerprint(16_000, 1)
    listener.add(samples.reshape(-1, 1))
    return listener.result()["audio_fingerprint"]


def near_recordings(fingerprints: list[bytes], first: int = 0) -> list[tuple[int, int]]:
    def read(indices: np.ndarray) -> list[bytes]:
        return [fingerprints[i] for i in indices]

    with TemporaryDirectory() as folder:
        blocks = audio.near_blocks(read, len(fingerprints), 0.75, Path(folder), first)
        return as_list(collect_pairs(blocks, len(fingerprints)))


def test_planted_recordings_are_found() -> None:
    fingerprints: list[bytes] = []
    for number in range(40):
        samples = make_tune(number)
        fingerprints += [
            fingerprint(samples),
            fingerprint(samples, ("OGG", "VORBIS")),
            fingerprint(samples, ("MP3", "MPEG_LAYER_III")),
            fingerprint(samples * 0.3),
            fingerprint(samples[3200:]),
        ]
    pairs = near_recordings(fingerprints)
    expected = [(a, b) for a in range(0, len(fingerprints), 5) for b in range(a + 1, a + 5)]
    assert len(set(expected) & set(pairs)) / len(expected) >= 0.95
    assert np.mean([a // 5 == b // 5 for a, b in pairs]) >= 0.99
    new = near_recordings(fingerprints, 120)
    assert new == [p for p in pairs if p[1] >= 120]


def random_near_pairs(rng: np.random.Generator, samples: int) -> list[NearPairs]:
    out = []
    for kind in ("image", "audio"):
        near = np.triu(rng.random((samples, samples)) < 0.15, 1)
        a, b = np.nonzero(near)
        parts = rng.integers(0, samples, samples)
        # Two parts may have the same node.
        nodes = np.where(rng.random(samples) < 0.2, -1, parts // 2)
        mask = (a < samples // 2) & (b < samples // 2)
        similarity = rng.integers(70, 99, mask.sum()).astype(np.float32) / 100
        out.append(NearPairs(kind, nodes, parts, Pairs(a[mask], b[mask], similarity)))
    return out


def similarity_of(n: NearPairs, one: int, other: int) -> float:
    """The similarity of two samples, 0 if they are not near."""
    x, y = n.nodes[one], n.nodes[other]
    if min(x, y) < 0 or n.parts[one] == n.parts[other]:
        return 0.0
    if x == y:
        return 1.0
    rows = ((n.pairs.a == min(x, y)) & (n.pairs.b == max(x, y))).nonzero()[0]
    return float(n.pairs.similarity[rows[0]]) if len(rows) else 0.0


@settings(max_examples=60)
@given(seeds, st.integers(2, 30))
def test_lost_samples_are_near_their_survivor_and_survivors_are_not_near(
    seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    near = random_near_pairs(rng, count)
    rank = rng.permutation(count)
    position = np.argsort(rank)
    lost = elect_survivors(rank, near)
    lost_samples = set(lost.sample.tolist())
    assert len(lost_samples) == len(lost.sample)
    for sample, survivor, kind, similarity in zip(
        lost.sample, lost.survivor, lost.kind, lost.similarity, strict=True
    ):
        assert survivor not in lost_samples
        assert position[survivor] < position[sample]
        assert similarity_of(near[kind], sample, survivor) == pytest.approx(similarity)
    alive = [s for s in range(count) if s not in lost_samples]
    assert not any(similarity_of(n, a, b) for n in near for a in alive for b in alive if a != b)
    # With samples in another order, the same ones are lost to the same survivors.
    shuffle = rng.permutation(count)
    moved = [NearPairs(n.kind, n.nodes[shuffle], n.parts[shuffle], n.pairs) for n in near]
    again = elect_survivors(np.argsort(shuffle)[rank], moved)
    pairs = zip(shuffle[again.sample], shuffle[again.survivor], again.kind, strict=True)
    assert list(pairs) == list(zip(lost.sample, lost.survivor, lost.kind, strict=True))


def test_the_longest_caption_ranks_best_then_the_largest_image_then_the_id() -> None:
    passes = np.array([True, True, True, True, False])
    caption, pixels = np.array([5, 9, 9, 9, 50]), np.array([900, 10, 20, 20, 9000])
    assert rank_samples(passes, caption, pixels).tolist() == [2, 3, 1, 0, 4]


def test_equal_keys_are_joined_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.duplicates.pair_joins.BLOCK_PAIRS", 7)
    rng = np.random.default_rng(0)
    table, probes = rng.integers(0, 9, 40), rng.integers(0, 9, 50)
    result = {
        (int(a), int(b)) for x, y in equal_join(table, probes) for a, b in zip(x, y, strict=True)
    }
    assert result == {(int(a), int(b)) for a, b in np.argwhere(table[:, None] == probes)}
