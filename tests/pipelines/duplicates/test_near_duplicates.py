"""Searches for near-duplicates against plain references, and planted copies."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.duplicates import audio, semantic
from pipelines.duplicates.images import copies, hamming
from pipelines.duplicates.pair_joins import Pairs, equal_join
from pipelines.duplicates.survivors import NearPairs, elect_survivors, rank_samples
from pipelines.signals.decoded_image import open_picture
from pipelines.signals.scorers.audio_fingerprint import Fingerprint
from pipelines.signals.scorers.image_copies import CROPS, LOOK, score
from tests.pipelines.duplicates.test_duplicates import scene

seeds = st.integers(0, 2**31)


def listed(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def upper(near: np.ndarray, first: int) -> list[tuple[int, int]]:
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
    found = hamming.pairs(hashes, radius, first)
    assert listed(found) == upper(distance <= radius, first)
    assert np.allclose(found.similarity, 1 - distance[found.a, found.b] / 256)


def test_a_pair_at_the_radius_is_found_however_many_hashes_there_are() -> None:
    for rows in (10, 10**4, 10**6, 10**8):
        bands = hamming.bands(31, rows)
        assert sum(flips + 1 for _, flips in bands) == 32
        assert sorted(b for places, _ in bands for b in places.tolist()) == list(range(256))


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
    found = set(listed(semantic.pairs(vectors, threshold, first)))
    # Products of other shapes differ in the last digits.
    assert set(upper(cosine >= threshold + 1e-5, first)) <= found
    assert found <= set(upper(cosine >= threshold - 1e-5, first))


def known_by(image: Image.Image, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and look of a picture once it was saved and opened again."""
    out = io.BytesIO()
    image.save(out, **({"format": "PNG"} | options))
    found = score(open_picture(out.getvalue()))
    hashes, look = (np.frombuffer(found[n], np.uint8) for n in ("image_copies", "image_look"))
    return hashes.reshape(CROPS, 32), look.reshape(LOOK, LOOK, 3)


def near(pictures: list[tuple[np.ndarray, np.ndarray]], first: int = 0) -> list[tuple[int, int]]:
    hashes, looks = (np.stack(column) for column in zip(*pictures, strict=True))
    return listed(copies.pairs(hashes, lambda places: looks[places], 31, first))


def test_planted_pictures_are_found() -> None:
    pictures: list[tuple[np.ndarray, np.ndarray]] = []
    for number in range(60):
        image = scene(number)
        width, height = image.size
        cut_x, cut_y = round(width * 0.05), round(height * 0.05)
        pictures += [
            known_by(image),
            known_by(image.resize((100, 100))),
            known_by(image, format="JPEG", quality=40),
            known_by(image.point(lambda v: min(255, round(v * 1.2)))),
            known_by(image.convert("L")),
            known_by(image.crop((cut_x // 2, cut_y // 2, width - cut_x // 2, height - cut_y // 2))),
            known_by(image.crop((0, 0, width - cut_x, height - cut_y))),
            known_by(image.crop((cut_x, 0, width, height)), format="JPEG", quality=75),
        ]
    found = near(pictures)
    wanted = [(a, b) for a in range(0, len(pictures), 8) for b in range(a + 1, a + 8)]
    assert len(set(wanted) & set(found)) / len(wanted) >= 0.95
    assert np.mean([a // 8 == b // 8 for a, b in found]) >= 0.99
    some = [p for p in found if p[1] >= 320]
    assert near(pictures, 320) == some


def test_a_picture_in_other_colours_is_no_copy() -> None:
    image = scene(1)
    red, green, blue = image.split()
    hashes, look = known_by(image)
    _, grey = known_by(image.convert("L"))
    _, painted = known_by(Image.merge("RGB", (red, blue, green)))
    assert near([(hashes, look), (hashes, grey)]) == [(0, 1)]
    assert near([(hashes, look), (hashes, painted)]) == []


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
    near_ones = {(int(x), int(y)) for x, y in zip(*np.nonzero(distance <= radius), strict=True)}
    found = set()
    for x, y, similarity in hamming.between(one, other, radius, first):
        assert np.allclose(similarity, 1 - distance[x, y] / 256)
        found |= set(zip(x.tolist(), y.tolist(), strict=True))
    assert found == {pair for pair in near_ones if max(pair) >= first}


def tune(number: int, rate: int = 16_000) -> np.ndarray:
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


def heard(samples: np.ndarray, encoding: tuple[str, str] | None = None) -> bytes:
    if encoding:
        out = io.BytesIO()
        soundfile.write(out, samples, 16_000, format=encoding[0], subtype=encoding[1])
        samples, _ = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32")
    listener = Fingerprint(16_000, 1)
    listener.hear(samples.reshape(-1, 1))
    return listener.result()["audio_fingerprint"]


def test_planted_recordings_are_found() -> None:
    prints: list[bytes] = []
    for number in range(40):
        samples = tune(number)
        prints += [
            heard(samples),
            heard(samples, ("OGG", "VORBIS")),
            heard(samples, ("MP3", "MPEG_LAYER_III")),
            heard(samples * 0.3),
            heard(samples[3200:]),
        ]
    found = listed(audio.pairs(prints, 0.75))
    wanted = [(a, b) for a in range(0, len(prints), 5) for b in range(a + 1, a + 5)]
    assert len(set(wanted) & set(found)) / len(wanted) >= 0.95
    assert np.mean([a // 5 == b // 5 for a, b in found]) >= 0.99
    some = listed(audio.pairs(prints, 0.75, 120))
    assert some == [p for p in found if p[1] >= 120]


def graph(rng: np.random.Generator, samples: int) -> list[NearPairs]:
    out = []
    for kind in ("image", "audio"):
        near = np.triu(rng.random((samples, samples)) < 0.15, 1)
        a, b = np.nonzero(near)
        parts = rng.integers(0, samples, samples)
        nodes = np.where(rng.random(samples) < 0.2, -1, parts // 2)  # some parts have one node
        here = (a < samples // 2) & (b < samples // 2)
        similarity = rng.integers(70, 99, here.sum()).astype(np.float32) / 100
        out.append(NearPairs(kind, nodes, parts, Pairs(a[here], b[here], similarity)))
    return out


def is_near(n: NearPairs, one: int, other: int) -> float:
    x, y = n.nodes[one], n.nodes[other]
    if min(x, y) < 0 or n.parts[one] == n.parts[other]:
        return 0.0
    if x == y:
        return 1.0
    here = ((n.pairs.a == min(x, y)) & (n.pairs.b == max(x, y))).nonzero()[0]
    return float(n.pairs.similarity[here[0]]) if len(here) else 0.0


@settings(max_examples=60)
@given(seeds, st.integers(2, 30))
def test_what_is_lost_is_near_its_survivor_and_survivors_are_apart(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    near = graph(rng, count)
    rank = rng.permutation(count)
    place = np.argsort(rank)
    lost = elect_survivors(rank, near)
    gone = set(lost.sample.tolist())
    assert len(gone) == len(lost.sample)
    for sample, survivor, kind, similarity in zip(
        lost.sample, lost.survivor, lost.kind, lost.similarity, strict=True
    ):
        assert survivor not in gone
        assert place[survivor] < place[sample]
        assert is_near(near[kind], sample, survivor) == pytest.approx(similarity)
    alive = [s for s in range(count) if s not in gone]
    assert not any(is_near(n, a, b) for n in near for a in alive for b in alive if a != b)
    # Told in another order, the same samples are lost to the same survivors.
    shuffle = rng.permutation(count)
    moved = [NearPairs(n.kind, n.nodes[shuffle], n.parts[shuffle], n.pairs) for n in near]
    again = elect_survivors(np.argsort(shuffle)[rank], moved)
    pairs = zip(shuffle[again.sample], shuffle[again.survivor], again.kind, strict=True)
    assert list(pairs) == list(zip(lost.sample, lost.survivor, lost.kind, strict=True))


def test_the_longest_caption_ranks_best_then_the_largest_image_then_the_id() -> None:
    passes = np.array([True, True, True, True, False])
    caption, pixels = np.array([5, 9, 9, 9, 50]), np.array([900, 10, 20, 20, 9000])
    assert rank_samples(passes, caption, pixels).tolist() == [2, 3, 1, 0, 4]


def test_equal_keys_are_found_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.duplicates.pair_joins.BLOCK_PAIRS", 7)
    rng = np.random.default_rng(0)
    table, probes = rng.integers(0, 9, 40), rng.integers(0, 9, 50)
    found = {
        (int(a), int(b)) for x, y in equal_join(table, probes) for a, b in zip(x, y, strict=True)
    }
    assert found == {(int(a), int(b)) for a, b in np.argwhere(table[:, None] == probes)}
