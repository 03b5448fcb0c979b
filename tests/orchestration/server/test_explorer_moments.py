"""Moments in the explorer: tiles are framed, windows are played, a gallery is chosen."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.sync_api import Page, expect

from store.workspace import Workspace
from tests.helpers.chromium import search_address
from tests.helpers.served import Served, served
from tests.helpers.stages import make_stale_stages
from tests.helpers.trio import CONFIG

pytestmark = pytest.mark.slow
RATE, SIDE, COUNT = 8000, 64, 12
SECTION = "moments: {audio: {seconds: 2, step: 2}, image: {tiles: 2}}\n"


def sound(*numbers: int) -> bytes:
    """Two seconds for each number, which the encoder reads in the first value."""
    file = io.BytesIO()
    soundfile.write(file, np.repeat(np.int16(numbers), 2 * RATE), RATE, "PCM_16", format="WAV")
    return file.getvalue()


def tile(number: int) -> Image.Image:
    """A picture whose number the encoder reads in the first pixel."""
    return Image.new("RGB", (SIDE, SIDE), (number // 256, number % 256, 0))


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of collages of four numbers, and of recordings of four others."""
    root: Path = tmp_path_factory.mktemp("moments")
    (root / "corpus.yaml").write_text(CONFIG + SECTION)
    folder = root / "drops" / "first"
    folder.mkdir(parents=True)
    for n in range(COUNT):
        collage = Image.new("RGB", (2 * SIDE, 2 * SIDE))
        for quarter in range(4):
            collage.paste(tile(4 * n + quarter), (SIDE * (quarter % 2), SIDE * (quarter // 2)))
        collage.save(folder / f"collage-{n}.png")
        (folder / f"collage-{n}.txt").write_text(f"collage {n}")
        (folder / f"sound-{n}.wav").write_bytes(sound(*range(1000 + 4 * n, 1004 + 4 * n)))
        (folder / f"sound-{n}.txt").write_text(f"sound {1000 + n}")
    make_stale_stages(Workspace.open(root))
    with served(root) as running:
        yield running


def test_the_best_tile_is_framed(page: Page, moments: Served) -> None:
    content = io.BytesIO()
    tile(4 * 3 + 2).save(content, "PNG")  # the quarter at the bottom left of the fourth collage
    page.goto(moments.url)
    file = {"name": "tile.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.get_by_label("Picture or recording").set_input_files([file])  # type: ignore[list-item]
    page.get_by_label("Best moments").check()
    page.get_by_role("button", name="Search", exact=True).click()
    card = page.get_by_role("region", name="Corrected").locator(".card").first
    expect(card).to_contain_text("collage-3")
    expect(card).to_contain_text("best tile: 50% by 50%, 0% from the left, 50% from the top")
    frame, image = (card.locator(name).bounding_box() for name in ("svg.frame rect", ".thumbnail"))
    assert frame is not None
    assert image is not None
    assert frame["x"] == pytest.approx(image["x"], abs=3)
    assert frame["y"] == pytest.approx(image["y"] + image["height"] / 2, abs=3)
    assert frame["width"] == pytest.approx(image["width"] / 2, abs=6)


def test_the_best_window_is_played(page: Page, moments: Served) -> None:
    window = base64.b64encode(sound(1000 + 4 * 2 + 2)).decode()  # from 4 to 6 seconds
    inputs = [{"audio": window}]
    page.goto(search_address(moments, inputs=inputs, among="audio", moments=True))
    expect(page.get_by_label("Best moments")).to_be_checked()
    card = page.get_by_role("region", name="Corrected").locator(".card").first
    expect(card).to_contain_text("sound-2")
    expect(card).to_contain_text("best from 4.0 to 6.0 s")
    card.get_by_role("button", name="Load the recording").click()
    player = card.locator("audio")
    expect(player).to_have_js_property("paused", False)
    assert player.evaluate("player => player.currentTime") >= 4
    expect(player).to_have_js_property("paused", True)
    assert 6 <= player.evaluate("player => player.currentTime") < 7.5


def test_a_gallery_is_chosen(page: Page, moments: Served) -> None:
    page.goto(moments.url)
    page.get_by_label("Text 1").fill("collage 1")
    page.get_by_label("Among").select_option("text")
    expect(page.get_by_label("Best moments")).to_have_count(0)
    page.get_by_label("Among").select_option("auto")
    expect(page.get_by_label("Best moments")).to_have_count(0)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("auto: by gaps")).to_be_visible()
