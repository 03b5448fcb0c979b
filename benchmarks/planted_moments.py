"""Writes a corpus with planted moments, of the real stamps and recordings of the demo.

    isotrope demo demo
    python -m benchmarks.planted_moments demo planted && isotrope run --corpus planted

Some samples are held out, of which the corpus has one medium alone, without a caption: an image, a
recording, a recording inside a longer one, or an image in a quarter of a collage of four. The
others are delivered as they are, and lend what surrounds the planted ones. `planted/answers.json`
has the held-out captions, and where the right answer to each is; `planted/queries` has their media.
"""

import argparse
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

import isotrope
from embedders.media.audio import load_mono
from embedders.media.image import load_rgb

RATE = 22_050  # Hz of long recordings
GAP = 0.5  # seconds between sounds
AROUND = 7  # sounds that surround a planted one
SIDE = 160  # of a quarter of a collage, in pixels
# Held-out samples by where the right answer is.
COUNTS = {"audio moment": 50, "audio": 30, "image moment": 150, "image": 100}
CONFIG = """\
sources:
  planted: {path: drops}
moments:
  audio: {seconds: 2, step: 1}
  image: {tiles: 2}
"""


def long_recording(sounds: list[bytes], place: int) -> tuple[bytes, float, float]:
    """Sounds one after the other as a WAV file, and start and end of the one at a place."""
    silence = np.zeros(int(GAP * RATE), np.float32)
    pieces, span, position = [], (0.0, 0.0), 0
    for number, data in enumerate(sounds):
        samples = load_mono(data, RATE, 10.0)
        if number == place:
            span = position / RATE, (position + len(samples)) / RATE
        pieces += [samples, silence]
        position += len(samples) + len(silence)
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(pieces), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue(), *span


def collage(images: list[bytes]) -> bytes:
    """Four images in the quarters of a white PNG, row by row."""
    canvas = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
    for number, data in enumerate(images):
        image = load_rgb(data)
        image.thumbnail((SIDE - 16, SIDE - 16))
        left = SIDE * (number % 2) + (SIDE - image.width) // 2
        canvas.paste(image, (left, SIDE * (number // 2) + (SIDE - image.height) // 2))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def write_corpus(rows: list[dict[str, Any]], root: Path) -> None:
    """Write the sources, the configuration and the answers.

    Args:
        rows: samples of the demo.
        root: an empty folder.
    """
    rng = np.random.default_rng(0)
    captions = Counter((row["text"] or "").strip().lower() for row in rows)
    unique = [row for row in rows if captions[(row["text"] or "").strip().lower()] == 1]
    sounding = rng.permutation([n for n, row in enumerate(unique) if row["audio"]]).tolist()
    silent = rng.permutation([n for n, row in enumerate(unique) if not row["audio"]]).tolist()
    held: dict[str, list[dict[str, Any]]] = {}
    for place, count in COUNTS.items():
        source = sounding if place.startswith("audio") else silent
        held[place] = [unique[source.pop()] for _ in range(count)]
    keys = {row["key"] for own in held.values() for row in own}
    others = [row for row in rows if row["key"] not in keys]
    stamps, planted = root / "drops" / "stamps", root / "drops" / "planted"
    queries = root / "queries"
    for folder in (stamps, planted, queries):
        folder.mkdir(parents=True)
    for row in others:
        stem = stamps / row["key"].replace("/", "__")
        stem.with_name(stem.name + ".txt").write_text(row["text"] or "")
        stem.with_name(f"{stem.name}.{row['image_format']}").write_bytes(row["image"])
        if row["audio"]:
            stem.with_name(f"{stem.name}.{row['audio_format']}").write_bytes(row["audio"])
    around = {m: [row[m] for row in others if row[m]] for m in ("audio", "image")}
    answers = []
    for place, own in held.items():
        modality, _, is_moment = place.partition(" ")
        for number, row in enumerate(own):
            key = f"{place.replace(' ', '-')}-{number:03d}"
            answer = {"key": key, "text": row["text"], "modality": modality}
            answer["level"] = "moment" if is_moment else "part"
            data, name = row[modality], f"{key}.{row[f'{modality}_format']}"
            (queries / name).write_bytes(data)
            answer["query"] = name
            chosen = rng.choice(len(around[modality]), AROUND, replace=False)
            neighbours = [around[modality][n] for n in chosen]
            if place == "audio moment":
                at = int(rng.integers(AROUND + 1))
                neighbours.insert(at, data)
                data, answer["start"], answer["end"] = long_recording(neighbours, at)
                name = f"{key}.wav"
            elif place == "image moment":
                at = int(rng.integers(4))
                neighbours = neighbours[:3]
                neighbours.insert(at, data)
                data, answer["quarter"], name = collage(neighbours), at, f"{key}.png"
            (planted / name).write_bytes(data)
            answers.append(answer)
    (root / "answers.json").write_text(json.dumps(answers, indent=1))
    (root / "corpus.yaml").write_text(CONFIG)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    columns = ["key", "text", "image", "image_format", "audio", "audio_format"]
    samples = isotrope.connect(str(options.demo)).tables.open("samples")
    rows = samples.to_table(columns=columns).sort_by("key").to_pylist()
    write_corpus(rows, options.folder)


if __name__ == "__main__":
    main()
