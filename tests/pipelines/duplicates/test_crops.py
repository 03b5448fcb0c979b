"""Crops, rotations and mirror images: transforms against plain geometry, planted copies, and
pictures that only look alike."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from pipelines.duplicates.images import crops, feature_crowds
from pipelines.duplicates.images.aligned_views import View, similarity
from pipelines.duplicates.images.registration import register
from pipelines.duplicates.images.similarity_transforms import Transform, find_transform
from pipelines.duplicates.pair_joins import Pairs, collect_pairs
from pipelines.signals.decoded_image import decode_reduced
from pipelines.signals.scorers.image_local import FEATURES, KEYPOINT, mirrored, points, score
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from pipelines.stages.scorer_versions import scorer_versions
from store.tables import schema
from store.tables.signals import KEYPOINTS, VIEW
from store.workspace import Workspace
from tests.helpers.corpus import write_config
from tests.helpers.stages import curate
from tests.pipelines.duplicates.test_duplicates import scene

THRESHOLD = 0.75
Measured = tuple[np.ndarray, np.ndarray]


def measure(image: Image.Image, **options: object) -> Measured:
    """Features and view of an image that is saved and opened again."""
    out = io.BytesIO()
    image.save(out, **({"format": "JPEG", "quality": 85} | options))
    signals = score(decode_reduced(out.getvalue()))
    view = np.frombuffer(signals["image_view"], np.uint8).reshape(VIEW, VIEW, 3)
    return np.frombuffer(signals["image_keypoints"], FEATURES)[0], view


def near(measured: list[Measured], first: int = 0, order: np.ndarray | None = None) -> Pairs:
    features, views = (np.array(column) for column in zip(*measured, strict=True))
    order = np.arange(len(measured)) if order is None else order
    blocks = crops.near_blocks(order, features.__getitem__, views.__getitem__, THRESHOLD, first)
    return collect_pairs(blocks, len(order))


def as_list(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


def planted(number: int) -> list[Image.Image]:
    """A picture and its copies: parts of it, turned, mirrored, smaller."""
    rng, image = np.random.default_rng(number), scene(number, 200)

    def part(share: float) -> Image.Image:
        side = round(200 * (1 - share))
        x, y = rng.integers(0, 200 - side + 1, 2).tolist()
        return image.crop((x, y, x + side, y + side))

    turned = image.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC, True, fillcolor="white")
    return [
        image,
        *(part(share) for share in (0.05, 0.1, 0.2, 0.3)),
        turned,
        image.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC),
        image.transpose(Image.Transpose.ROTATE_90),
        ImageOps.mirror(image),
        part(0.2).resize((120, 120)),
        image.convert("L"),
    ]


@pytest.fixture(scope="module")
def measured() -> list[Measured]:
    return [measure(image) for number in range(4) for image in planted(number)]


COPIES = len(planted(0))


def test_planted_copies_are_found_and_no_others(measured: list[Measured]) -> None:
    pairs = near(measured)
    expected = [(a, b) for a in range(0, len(measured), COPIES) for b in range(a + 1, a + COPIES)]
    assert len(set(expected) & set(as_list(pairs))) / len(expected) >= 0.95
    assert (pairs.a // COPIES == pairs.b // COPIES).mean() >= 0.99
    assert (pairs.similarity >= THRESHOLD - 1e-6).all()


def photograph(number: int) -> Image.Image:
    """An image of 300 x 200 pixels with detail of all sizes everywhere."""
    rng = np.random.default_rng(number)
    total = np.zeros((200, 300, 3))
    for side in (4, 12, 36, 100):
        pixels = Image.fromarray(rng.integers(0, 256, (side, side * 3 // 2, 3), dtype=np.uint8))
        total += np.asarray(pixels.resize((300, 200), Image.Resampling.BICUBIC)) / 4
    return Image.fromarray((total / 2).astype(np.uint8))


@pytest.mark.parametrize("angle", [45, 90])
def test_a_photograph_turned_in_its_frame_is_found(angle: int) -> None:
    image = photograph(angle)
    turned = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor="white")
    measured = [measure(image), measure(turned), measure(photograph(angle + 1))]
    assert as_list(near(measured)) == [(0, 1)]


def test_pixels_at_the_border_are_not_compared() -> None:
    pixels = np.asarray(photograph(0).resize((VIEW, VIEW), Image.Resampling.BOX))
    framed = pixels.copy()
    framed[0] = 255
    one, other = View(pixels, 300, 200), View(framed, 300, 200)
    assert similarity(one, other, Transform(1, 0, 3, 1.0)) >= THRESHOLD
    framed[1:3] = 255
    assert similarity(one, other, Transform(1, 0, 3, 1.0)) < THRESHOLD


def test_the_pairs_do_not_depend_on_which_image_is_new(measured: list[Measured]) -> None:
    pairs = near(measured)
    half = 2 * COPIES
    assert as_list(near(measured, half)) == [p for p in as_list(pairs) if p[1] >= half]
    assert as_list(near(measured, len(measured))) == []
    shuffle = np.random.default_rng(0).permutation(len(measured))
    again = near([measured[i] for i in shuffle], order=shuffle)
    moved = {(min(p), max(p)) for p in zip(shuffle[again.a], shuffle[again.b], strict=True)}
    # Of images with very many matches, ties decide which are compared.
    assert len(moved ^ set(as_list(pairs))) <= 0.02 * len(pairs)


@pytest.mark.parametrize("crowd", [256, 5])
def test_the_pairs_do_not_depend_on_blocks(
    measured: list[Measured], crowd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_crowds, "_CROWD", crowd)
    whole = {first: as_list(near(measured, first)) for first in (0, 30)}
    monkeypatch.setattr(feature_crowds, "_BLOCK", 7)
    monkeypatch.setattr(crops, "_INDEXED", 10)
    assert {first: as_list(near(measured, first)) for first in (0, 30)} == whole


def test_pictures_that_look_alike_are_not_copies() -> None:
    image = scene(1, 200)
    red, green, blue = image.split()
    edited = image.copy()
    ImageDraw.Draw(edited).rectangle((60, 60, 100, 100), fill="white", outline="black")
    assert as_list(near([measure(image), measure(Image.merge("RGB", (red, blue, green)))])) == []
    assert as_list(near([measure(image), measure(edited)])) == []

    def screenshot(words: list[str]) -> Image.Image:
        page = Image.new("RGB", (400, 300), "white")
        draw = ImageDraw.Draw(page)
        draw.rectangle((0, 0, 400, 24), fill="#336699")
        draw.text((8, 6), "File  Edit  View  Help", fill="white")
        for line in range(16):
            draw.text((10, 34 + 16 * line), " ".join(words[line * 7 : line * 7 + 7]), fill="black")
        return page

    rng = np.random.default_rng(0)
    words = ["lake", "castle", "grey", "evening", "boat", "shore", "wood", "light", "old", "below"]
    pages = [screenshot(rng.choice(words, 112).tolist()) for _ in range(6)]
    assert as_list(near([measure(page) for page in pages])) == []
    part = pages[0].crop((20, 10, 340, 260))
    assert as_list(near([measure(pages[0]), measure(part)])) == [(0, 1)]


def test_flat_tiny_and_unmeasured_pictures_have_no_copies() -> None:
    flat = Image.new("RGB", (300, 200), "white")
    long = Image.new("RGB", (1, 4000), "black")
    blank = np.zeros((), FEATURES), np.zeros((VIEW, VIEW, 3), np.uint8)
    single = Image.new("RGB", (1, 1), "red")
    measured = [*(measure(image) for image in (flat, flat, single, single, long, long))]
    assert as_list(near([*measured, blank, blank, measure(scene(1))])) == []
    # A picture whose keypoints are all alike.
    board = Image.fromarray(np.kron(np.indices((40, 40)).sum(0) % 2 * 255, np.ones((8, 8))))
    assert near([measure(board.convert("RGB")), measure(scene(2))]).a.size == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 2 * np.pi), st.floats(0.5, 2), st.integers(0, 12))
def test_a_transform_is_found_among_false_matches(
    seed: int, turn: float, scale: float, false: int
) -> None:
    rng = np.random.default_rng(seed)
    one, other = np.zeros((2,), FEATURES)
    count = 20
    # Some pixels apart: points of less than about one pixel count as one.
    cells = np.divmod(rng.permutation(25 * 25)[:count], 25)
    x, y = (50 + 8 * cell + rng.uniform(0, 4, count) for cell in cells)
    z = x + 1j * y
    p, q = scale * np.exp(1j * turn), complex(*rng.uniform(800, 1200, 2))
    angle = rng.integers(0, 256, count)
    for record, at, angles, sizes in (
        (one, z, angle, np.full(count, 100)),
        (other, p * z + q, angle + turn / (2 * np.pi) * 256, 100 + 16 * np.log2(scale)),
    ):
        record["count"], record["width"], record["height"] = count, 2400, 2400
        keypoints = np.zeros(KEYPOINTS, KEYPOINT)
        keypoints["x"][:count], keypoints["y"][:count] = (
            at.real / 2400 * 65535,
            at.imag / 2400 * 65535,
        )
        keypoints["angle"][:count] = np.rint(angles).astype(int) % 256
        keypoints["size"][:count] = np.rint(sizes)
        record["keypoints"] = keypoints
    bits = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    one["keypoints"]["bits"][:count] = other["keypoints"]["bits"][:count] = bits
    moved = rng.permutation(count)[:false]
    other["keypoints"]["x"][moved] = rng.integers(0, 65535, false)
    found = find_transform(one, other)
    assert found is not None
    assert abs(found.p - p) < 0.02 * scale
    assert np.abs(found.p * z + found.q - (p * z + q)).max() < 3
    assert found.agreeing >= count - false


@pytest.mark.parametrize(("share", "turn"), [(0.0, 0.0), (0.3, 0.0), (0.0, 35.0)])
def test_registration_mends_a_transform_that_is_slightly_off(share: float, turn: float) -> None:
    image = scene(7, 200)
    side = round(200 * (1 - share))
    turned = image.rotate(turn, Image.Resampling.BICUBIC, fillcolor="white")
    part = turned.crop((200 - side, 200 - side, 200, 200))
    (_, whole_view), (record, view) = measure(image), measure(part)
    p = complex(np.exp(-1j * np.deg2rad(turn))) * (record["width"] / side)
    corner = (200 - side) * (1 + 1j)
    exact = Transform(p, p * -(100 + 100j) + (100 + 100j - corner) * (record["width"] / side), 9, 1)
    one, other = View(whole_view, 200, 200), View(view, int(record["width"]), int(record["height"]))
    best = similarity(one, other, exact)
    # As much as keypoints are off: 2 pixels, 2 degrees, 3%.
    moved = exact._replace(p=exact.p * 1.03 * np.exp(0.035j), q=exact.q + 2 - 2j)
    assert similarity(one, other, moved) < THRESHOLD < best
    assert similarity(one, other, register(one, other, moved)) > best - 0.05


def test_registration_of_what_does_not_overlap_changes_nothing() -> None:
    flat = View(np.full((VIEW, VIEW, 3), 200, np.uint8), 100, 100)
    apart = Transform(1 + 0j, 500 + 0j, 3, 1.0)
    assert register(flat, flat, apart) is apart
    together = register(flat, flat, Transform(1 + 0j, 0j, 3, 1.0))
    assert np.isfinite([together.p, together.q]).all()


def test_features_of_a_mirrored_image_are_the_mirrored_features() -> None:
    image = scene(3, 256)
    (one, _), (other, _) = (
        measure(image, format="PNG"),
        measure(ImageOps.mirror(image), format="PNG"),
    )
    transform = find_transform(mirrored(one), other)
    assert transform is not None
    assert transform.agreeing > 0.5 * min(one["count"], other["count"])
    assert abs(transform.p - 1) < 0.01
    assert abs(transform.q) < 1
    assert np.array_equal(mirrored(mirrored(one)), one)
    assert np.allclose(points(mirrored(one)[None]).real, 256 - points(one[None]).real)


def deliver(folder: Path, images: dict[str, Image.Image]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a picture called {name}")


def test_a_corpus_loses_crops_when_they_are_searched(tmp_path: Path) -> None:
    config = "sources:\n  photos: {path: drops}\npolicy: {}\n"
    write_config(tmp_path, config)
    image = scene(5, 200)
    deliver(tmp_path / "drops" / "a", {"whole": image, "other": scene(6, 200)})
    workspace = curate(tmp_path)
    context = StageContext(workspace, staleness.drops(workspace)["a"])
    keys = {"signals": run_keys.signals(context), "duplicates": run_keys.duplicates(context)}
    assert workspace.tables.scan("duplicates", schema.DUPLICATES).num_rows == 0
    measured = workspace.tables.scan("signals", schema.SIGNALS, ["image_keypoints"])
    assert measured["image_keypoints"].null_count == 2
    write_config(tmp_path, f"{config}duplicates: {{crops: {THRESHOLD}}}\n")
    changed = Workspace.open(tmp_path)
    assert scorer_versions(changed).keys() - scorer_versions(workspace).keys() == {"image_local"}
    assert {"signals"} <= set(staleness.stale(changed, "a"))
    assert "samples" not in staleness.stale(changed, "a")
    deliver(tmp_path / "drops" / "b", {"part": image.crop((10, 30, 170, 190)).rotate(90)})
    workspace = curate(tmp_path)
    rows = workspace.tables.scan("duplicates", schema.DUPLICATES)
    lost = rows.filter(pa.array([not r for r in rows["representative"].to_pylist()])).to_pylist()
    assert [(r["drop"], r["kind"]) for r in lost] == [("b", "crops")]  # the shorter caption
    assert lost[0]["similarity"] >= THRESHOLD
    assert workspace.tables.open("compared").count_rows("kind = 'crops'") == 3
    write_config(tmp_path, config)  # turned off again: the drop is as it was before
    workspace = curate(tmp_path)
    context = StageContext(workspace, staleness.drops(workspace)["a"])
    assert run_keys.signals(context) == keys["signals"]
    assert run_keys.duplicates(context) == keys["duplicates"]
    assert workspace.tables.scan("duplicates", schema.DUPLICATES).num_rows == 0
