"""A sound at a known second of a long recording is found within a window, by the real encoder."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

import isotrope
from store.workspace import Workspace
from tests.helpers.corpus import write_config
from tests.helpers.stages import make_stale_stages

RATE, SECONDS, PLANTED, LENGTH = 16_000, 18, 13, 2
CONFIG = """\
sources:
  sounds: {path: drops}
space: heard
spaces:
  heard: {audio: local:audio, text: local:text}
moments: {audio: {seconds: 2, step: 1}}
"""


def siren() -> np.ndarray:
    """Two seconds of a tone that rises and falls."""
    time = np.arange(LENGTH * RATE) / RATE
    pitch = 900 + 500 * np.sin(2 * np.pi * 2 * time)
    return (0.6 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)).astype(np.float32)


def background(number: int) -> np.ndarray:
    """Noise with slow beats, of another colour for each number."""
    rng = np.random.default_rng(number)
    noise = np.convolve(rng.normal(size=SECONDS * RATE), np.ones(1 + number % 5), "same")
    time = np.arange(SECONDS * RATE) / RATE
    beats = 1 + 0.5 * np.sin(2 * np.pi * (0.3 + 0.1 * number) * time)
    return (0.05 * noise * beats).astype(np.float32)


def wav(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, format="WAV", subtype="PCM_16")
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_planted_sound_is_found_within_a_window(tmp_path: Path) -> None:
    write_config(tmp_path / "corpus", CONFIG)
    folder = tmp_path / "corpus" / "drops" / "first"
    folder.mkdir(parents=True)
    for number in range(12):
        samples = background(number)
        if number == 7:
            samples[PLANTED * RATE : (PLANTED + LENGTH) * RATE] += siren()
        (folder / f"sound-{number:02d}.wav").write_bytes(wav(samples))
        (folder / f"sound-{number:02d}.txt").write_text(f"a recording of wind, number {number}")
    make_stale_stages(Workspace.open(tmp_path / "corpus"))
    corpus = isotrope.connect(tmp_path / "corpus")
    search = corpus.search(audio=wav(siren())).among("audio")
    rows = search.moments().limit(12).to_list()
    assert rows[0]["key"] == "sound-07"
    assert rows[0]["_end"] - rows[0]["_start"] == pytest.approx(2)
    overlap = min(rows[0]["_end"], PLANTED + LENGTH) - max(rows[0]["_start"], PLANTED)
    assert overlap >= 1
    # The encoder reads the first ten seconds of a recording, so its own vector does not have it.
    whole = {row["key"]: row["_raw_score"] for row in search.limit(12).to_list()}
    assert whole["sound-07"] < rows[0]["_raw_score"] - 0.1
    late = search.moments().where(f"_start >= {PLANTED + LENGTH}").limit(12).to_list()
    assert len(late) == 12
    assert all(row["_start"] >= PLANTED + LENGTH for row in late)
