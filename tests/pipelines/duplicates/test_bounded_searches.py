"""Searches whose rows are in files and are read in small blocks: against loops over all pairs."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.duplicates import audio, pair_joins, semantic
from pipelines.duplicates.images import hamming
from pipelines.duplicates.pair_joins import Pairs, collect_pairs
from pipelines.duplicates.texts import band_ranges, buckets, large_buckets, minhash, near_texts
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.duckdb_scratch import database
from pipelines.signals.scorers.audio_fingerprint import similarity
from tests.helpers.near_hashes import near_hashes
from tests.pipelines.duplicates.test_near_texts import near_pairs_by_loop


def in_file(rows: np.ndarray, path: Path) -> ArrayFile:
    out = ArrayFile(path, rows.shape, rows.dtype)
    out[np.arange(len(rows))] = rows
    return out


def as_dict(pairs: Pairs) -> dict[tuple[int, int], float]:
    keys = zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)
    return dict(zip(keys, pairs.similarity.tolist(), strict=True))


@pytest.mark.parametrize("first", [0, 70])
def test_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(hamming, "PROBES", 13)
    monkeypatch.setattr(hamming, "_ENTRIES", 3000)
    monkeypatch.setattr(hamming, "_COMPARED", 5)
    monkeypatch.setattr(pair_joins, "BLOCK_PAIRS", 11)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (100, 256), dtype=np.uint8)
    for row in range(50, 100):
        bits[row] = bits[rng.integers(row)]
        bits[row, rng.permutation(256)[: rng.integers(0, 40)]] ^= 1
    distance = (bits[:, None] != bits[None]).sum(axis=-1)
    hashes = in_file(np.packbits(bits, axis=1), tmp_path / "hashes")

    expected = {
        (a, b): 1 - float(distance[a, b]) / 256
        for b in range(first, 100)
        for a in range(b)
        if distance[a, b] <= 31
    }
    others = in_file(np.packbits(bits[::-1], axis=1), tmp_path / "others")
    assert (
        as_dict(collect_pairs(near_hashes([hashes], 31, hamming.within(100, 31, first)), 100))
        == expected
    )
    assert len(expected) > 20
    between = {
        (int(x), int(y))
        for a, b, _ in near_hashes([hashes, others], 31, hamming.between(100, 31, first))
        for x, y in zip(a, b, strict=True)
    }
    near = {(int(x), 99 - int(y)) for x, y in np.argwhere(distance <= 31)}
    assert between == {pair for pair in near if max(pair) >= first}


@pytest.mark.parametrize("first", [0, 40])
def test_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(audio, "PROBES", 17)
    monkeypatch.setattr(audio, "_STEP", 50)
    monkeypatch.setattr(audio, "_READ", 7)
    monkeypatch.setattr(audio, "_COMPARED", 3)
    rng = np.random.default_rng(0)
    recordings = [rng.integers(0, 1 << 32, 60, dtype=np.uint32) for _ in range(30)]
    for _ in range(30):
        copy = recordings[rng.integers(len(recordings))][rng.integers(0, 4) :].copy()
        flips = (1 << rng.integers(0, 32, len(copy))).astype(np.uint32)
        recordings.append(copy ^ np.where(rng.random(len(copy)) < 0.3, flips, 0).astype("<u4"))
    fingerprints = [r.astype("<u4").tobytes() for r in recordings]
    share = {
        (a, b): similarity(fingerprints[a], fingerprints[b])
        for b in range(first, len(recordings))
        for a in range(b)
    }
    expected = {pair: s for pair, s in share.items() if s >= 0.75}

    def read(indices: np.ndarray) -> list[bytes]:
        return [fingerprints[i] for i in indices]

    blocks = audio.near_blocks(read, len(fingerprints), 0.75, tmp_path, first)
    # Each copy shares many codes with its original: candidates are found surely.
    assert as_dict(collect_pairs(blocks, len(fingerprints))) == pytest.approx(expected)
    assert len(expected) > 15


@pytest.mark.parametrize("first", [0, 200])
def test_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr(semantic, "_BLOCK_ROWS", 10)
    monkeypatch.setattr(semantic, "_READ", 30)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    vectors[150:] = vectors[:150] + 0.1 * rng.normal(size=(150, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors.astype(float) @ vectors.T.astype(float)
    assert not (np.abs(cosine - 0.9) < 1e-6).any()
    expected = {
        (a, b): float(cosine[a, b])
        for b in range(first, 300)
        for a in range(b)
        if cosine[a, b] >= 0.9
    }
    file = in_file(vectors, tmp_path / "vectors")
    blocks = semantic.near_blocks(file, 0.9, tmp_path, first)
    assert as_dict(collect_pairs(blocks, 300)) == pytest.approx(expected, abs=1e-5)
    assert len(expected) > 50


@pytest.mark.parametrize(("listed", "hashes"), [(20, 1), (1000, 1), (1000, 500)])
@pytest.mark.parametrize("first", [0, 90])
def test_texts_of_one_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, listed: int, hashes: int
) -> None:
    """All texts share their bands: one bucket has all of them, and is divided into tasks.

    A round has one band, or several.
    """
    monkeypatch.setattr(buckets, "LARGE_BUCKET", 8)
    monkeypatch.setattr(band_ranges, "_READ", 16)
    monkeypatch.setattr(buckets, "_COMPARED", 64)
    monkeypatch.setattr(band_ranges, "HELD", 20)
    monkeypatch.setattr(band_ranges, "_HASHES", hashes)
    monkeypatch.setattr(band_ranges, "_DIVIDED", 50)
    monkeypatch.setattr(band_ranges, "_PIECES", 8)
    monkeypatch.setattr(near_texts, "_INSERTED", 50)
    monkeypatch.setattr(large_buckets, "_FETCHED", 64)
    monkeypatch.setattr(large_buckets, "_LISTED", listed)
    monkeypatch.setattr(near_texts, "_VERIFIED", 32)
    monkeypatch.setattr(large_buckets, "_TEXTS", 16)
    rng = np.random.default_rng(0)
    template = "high quality stock photo of a {} on a white background isolated for download {}"
    texts = [template.format(f"{n}", "".join(rng.choice(list("abcde"), 4))) for n in range(100)]
    texts += [texts[n].upper() + "!" for n in range(20)]
    signed = in_file(minhash.signatures(texts), tmp_path / "signed")

    def read(rows: np.ndarray) -> list[str]:
        return [texts[r] for r in rows]

    with database(tmp_path) as connection:
        blocks = near_texts.near_blocks(connection, tmp_path, signed, read, 0.7, first)
        pairs = as_dict(collect_pairs(blocks, len(texts)))
    expected = {p: s for p, s in near_pairs_by_loop(texts, 0.7).items() if p[1] >= first}
    assert pairs == expected
    assert len(expected) >= 20
