"""The tables do not depend on the order of deliveries, nor on how samples are sharded."""

import io
import json
import random
from pathlib import Path

import pytest
from PIL import Image

from store.workspace import Workspace
from tests.helpers.rubbish import tar_bytes, tone
from tests.helpers.stages import curate
from tests.pipelines.duplicates.test_duplicates import scene

CONFIG = """\
sources:
  s: {path: drops}
duplicates: {image: 31, text: 0.7, audio: 0.75}
engine: {signals: beam}
"""
TABLES = {
    "samples": ["drop", "id", "key", "text", "image_id", "audio_id", "meta"],
    "signals": None,
    "duplicates": None,
    "decisions": None,
}
SENTENCE = """a grey cat sits on the old wall beside the river and looks at boats that come and go
while some children throw small stones into deep water where fish swim under green leaves"""


def encoded(image: Image.Image, format: str, **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def samples(drop: int) -> list[list[tuple[str, bytes]]]:
    """The files of each sample of a drop, with copies in it and near-copies in the other one."""
    result = []
    for n in range(4):
        image = scene(n)
        full, small = encoded(image, "PNG"), image.resize((128 - 8 * drop, 128 - 8 * drop))
        result.append([(f"{drop}-same-{n}.png", full), (f"{drop}-same-{n}.txt", b"The same.")])
        result.append([(f"{drop}-small-{n}.jpg", encoded(small, "JPEG", quality=80))])
        words = random.Random(n).choices(SENTENCE.split(), k=40)
        text = " ".join([*words, *["indeed"] * drop]).encode()
        result.append([(f"{drop}-text-{n}.txt", text), (f"{drop}-text-{n}.json", b'{"n": 1}')])
    result.append([(f"{drop}-sound.wav", tone(seconds=3, rate=16000 + 6000 * drop))])
    result.append([(f"{drop}-broken.png", b"\x89PNG\r\n\x1a\n cut")])
    result.append([(f"{drop}-note.json", json.dumps({"caption": "Of its own."}).encode())])
    return result


def deliver(root: Path, drop: int, seed: int, shards: int) -> None:
    """Write one drop, its samples distributed over tar shards in an order drawn from a seed."""
    order = samples(drop)
    random.Random(seed).shuffle(order)
    folder = root / "drops" / f"d{drop}"
    folder.mkdir(parents=True)
    for number in range(shards):
        members = [member for sample in order[number::shards] for member in sample]
        (folder / f"{seed}-{number}.tar").write_bytes(tar_bytes(members))


def tables(workspace: Workspace) -> dict[str, list[str]]:
    """The sorted rows of every table."""
    return {
        name: sorted(map(repr, workspace.tables.open(name).to_table(columns=columns).to_pylist()))
        for name, columns in TABLES.items()
    }


@pytest.mark.timeout(280)
def test_shards_and_the_order_of_drops_do_not_matter(tmp_path: Path) -> None:
    results = []
    for seed, shards, together in ((1, 1, True), (2, 3, True), (3, 2, False)):
        root = tmp_path / f"{seed}"
        root.mkdir()
        (root / "corpus.yaml").write_text(CONFIG)
        order = (0, 1) if together else (1, 0)
        for drop in order:
            deliver(root, drop, seed, shards)
            if not together:
                curate(root)  # the drop with the later name arrives first
        results.append(tables(curate(root)))
    first, *others = results
    kinds = ("exact", "image", "text")
    assert [kind for kind in kinds if f"'kind': '{kind}'" not in str(first)] == []
    assert any("'keep': False" in row for row in first["decisions"])
    for other in others:
        for name in TABLES:
            assert other[name] == first[name], name
