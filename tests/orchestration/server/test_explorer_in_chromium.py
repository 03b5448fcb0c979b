"""The explorer in a real browser: every view, hostile captions, many results, failures."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from orchestration.server.keys import KeyFile
from store.config.server import Server
from store.search.result import Result
from store.workspace import Workspace
from tests.helpers.chromium import search_address
from tests.helpers.corpus import COLOURS, picture
from tests.helpers.made_release import make_release
from tests.helpers.served import Served, served

pytestmark = pytest.mark.slow
HOSTILE = [
    "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>",
    "\u202e\u2067 left \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "long " * 20_000,
    "javascript:window.harmed=1 ' \" & </bdi></p></main>",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of 1,100 images, the first of which have hostile captions."""
    root = tmp_path_factory.mktemp("hostile")
    make_release(root, 1100, first_captions=HOSTILE)
    with served(root) as running:
        yield running


def test_a_text_is_searched_and_the_rankings_are_compared(page: Page, server: Served) -> None:
    page.goto(server.url)
    page.get_by_label("Text 1").fill("a red square number 15")
    page.get_by_label("Results", exact=True).fill("5")
    page.keyboard.press("Enter")
    corrected = page.get_by_role("region", name="Corrected")
    expect(corrected.locator(".card")).to_have_count(5)
    expect(page.get_by_role("region", name="Raw").locator(".card")).to_have_count(5)
    expect(corrected.locator(".card").first).to_contain_text("a red square number 15")
    expect(corrected.locator("img").first).to_be_visible()
    expect(corrected.locator(".movement").first).to_contain_text("rank")
    corrected.get_by_text("Why this rank?").first.click()
    expect(corrected.get_by_text("Nearest items").first).to_be_visible()
    link = page.url
    page.get_by_role("button", name="Less like this").last.click()
    expect(page.get_by_label("Weight of input 2")).to_have_value("-0.5")
    page.go_back()
    assert page.url == link
    expect(page.get_by_label("Weight of input 2")).to_have_count(0)
    expect(page.get_by_label("Text 1")).to_have_value("a red square number 15")


def test_a_condition_is_built_and_a_wrong_one_is_explained(page: Page, server: Served) -> None:
    page.goto(search_address(server, inputs=[{"text": "a red square"}], limit=5))
    page.get_by_text("Only items that").click()
    page.get_by_role("combobox", name="Column").select_option("caption")
    page.get_by_role("combobox", name="Test").select_option("contains")
    page.get_by_role("textbox", name="Value").fill("blue")
    page.get_by_role("button", name="Add the condition").click()
    page.get_by_role("button", name="Search", exact=True).click()
    corrected = page.get_by_role("region", name="Corrected")
    expect(corrected.locator(".caption").first).to_contain_text("blue")
    page.get_by_label("Condition").fill("nonsense >")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_dropped_picture_is_an_input(page: Page, server: Served) -> None:
    page.goto(server.url)
    page.get_by_label("Text 1").fill("a red square")
    content = base64.b64encode(picture(COLOURS["red"], 15)).decode()
    dropped = page.evaluate_handle(
        """text => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "red.png", { type: "image/png" }));
            return transfer;
        }""",
        content,
    )
    page.dispatch_event("fieldset.inputs", "drop", {"dataTransfer": dropped})
    expect(page.get_by_alt_text("your picture")).to_be_visible()
    expect(page.get_by_label("Text 1")).to_have_value("a red square")
    page.get_by_role("button", name="Search", exact=True).click()
    corrected = page.get_by_role("region", name="Corrected")
    expect(corrected.locator(".card").first).to_contain_text("red-0015")


@pytest.mark.parametrize("weights", [(1,), (1, -0.5)])
def test_copied_code_gives_the_rows_of_the_page(
    page: Page, server: Served, weights: tuple[float, ...]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    texts = ['a red square\'s "corner" $HOME', "a blue square"]
    inputs = [
        {"text": t} if w == 1 else {"text": t, "weight": w}
        for t, w in zip(texts, weights, strict=False)
    ]
    page.goto(search_address(server, inputs=inputs, among="image", limit=4))
    cards = page.get_by_role("region", name="Corrected").locator(".card")
    expect(cards).to_have_count(4)
    keys = [link.strip() for link in cards.locator("a").all_text_contents()]
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_text("Copied: Python")).to_be_visible()
    names: dict[str, Any] = {}
    exec(page.evaluate("navigator.clipboard.readText()"), names)
    hits = names["hits"]
    rows = hits.rows if isinstance(hits, Result) else hits.to_arrow()
    assert rows["key"].to_pylist() == keys
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied: curl")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    if shutil.which("curl"):
        answer = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
        assert [row["key"] for row in json.loads(answer)["rows"]] == keys


def test_a_picture_is_an_input(page: Page, server: Served) -> None:
    page.goto(server.url)
    file = {"name": "red.png", "mimeType": "image/png", "buffer": picture(COLOURS["red"], 15)}
    page.get_by_label("Picture or recording").set_input_files([file])  # type: ignore[list-item]
    expect(page.get_by_alt_text("your picture")).to_be_visible()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("region", name="Corrected").locator(".card")).to_have_count(10)
    assert "q=" in page.url
    page.get_by_label("Picture or recording").set_input_files(
        [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"x"}]  # type: ignore[list-item]
    )
    expect(page.get_by_role("alert")).to_contain_text("neither a picture nor a recording")


def test_hostile_captions_are_text(page: Page, hostile: Served) -> None:
    page.goto(search_address(hostile, inputs=[{"id": f"{9:032x}"}], limit=1000))
    lists = page.locator(".ranking ol")
    expect(lists.first.locator(".card")).to_have_count(1000)
    expect(lists.last.locator(".card")).to_have_count(1000)
    assert page.evaluate("window.harmed") is None
    assert page.locator("main script").count() == 0
    shown = page.locator(".caption bdi").all_text_contents()
    assert HOSTILE[0] in shown
    assert HOSTILE[1] in shown
    assert HOSTILE[3] in shown
    assert not any(len(text) > 1000 for text in shown)
    page.get_by_text("show all 100,000 characters").first.click()
    assert HOSTILE[2] in page.locator(".caption bdi").all_text_contents()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_of_a_sample(page: Page, corpus_folder: Path) -> None:
    samples = Workspace.open(corpus_folder).tables.open("samples")
    text = HOSTILE[0] + HOSTILE[1] + HOSTILE[2]
    samples.update({"text": sql_text(text)}, where="key = 'red-0015'")
    with served(corpus_folder) as running:
        page.goto(search_address(running, inputs=[{"text": "a red square number 15"}], limit=3))
        corrected = page.get_by_role("region", name="Corrected")
        corrected.get_by_role("link", name="red-0015").click()
        expect(page.get_by_role("heading", name="red-0015", level=1)).to_be_visible()
        content = page.get_by_role("region", name="Content")
        expect(content.get_by_alt_text("red-0015")).to_be_visible()
        expect(content.locator("bdi").first).to_contain_text("<script>window.harmed = 1</script>")
        content.get_by_text("show all").click()
        expect(content.locator("bdi").first).to_have_text(text)
        assert page.evaluate("window.harmed") is None
        expect(page.get_by_role("row", name="first . decisions kept")).to_be_visible()
        expect(page.get_by_role("row", name="release 1")).to_contain_text("image")
        expect(page.get_by_role("row", name="image_width")).to_be_visible()
        near = page.get_by_role("region", name="Neighbours image → image")
        expect(near.locator(".tile")).to_have_count(5)
        near.scroll_into_view_if_needed()  # thumbnails are read when they come into view
        expect(near.locator("img").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        near.get_by_role("link").first.click()
        expect(page.get_by_role("heading", name="red-0015", level=1)).to_have_count(0)
        page.goto(f"{running.url}/explorer/#/sample/{'0' * 32}")
        expect(page.get_by_role("alert")).to_contain_text("no sample")


def test_the_map_shows_hubs_and_a_lasso_chooses_points(page: Page, hostile: Served) -> None:
    page.goto(f"{hostile.url}/explorer/#/map")
    expect(page.get_by_text("1,100 image parts")).to_be_visible()
    points = page.get_by_role("region", name="Points")
    expect(points.get_by_role("heading")).to_contain_text("20 points that most queries find")
    canvas = page.get_by_role("img", name="Map of 1100 points")
    raw = canvas.screenshot()
    page.get_by_role("button", name="corrected scores").click()
    expect(page.get_by_role("button", name="corrected scores")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(points.get_by_role("heading")).to_contain_text("by corrected scores")
    assert canvas.screenshot() != raw
    page.get_by_label("Colour").select_option("drop")
    expect(page.get_by_role("list", name="Colours by drop")).to_contain_text("d 1,100")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    page.mouse.down()
    for right, down in ((1, 0), (1, 1), (0, 1)):
        page.mouse.move(
            box["x"] + 1 + right * (box["width"] - 2), box["y"] + 1 + down * (box["height"] - 2)
        )
    page.mouse.up()
    expect(points.get_by_role("heading")).to_have_text("1100 points in the lasso")
    expect(points.locator(".tile")).to_have_count(48)
    page.reload()
    expect(points.get_by_role("heading")).to_have_text("1100 points in the lasso")
    page.get_by_role("button", name="Remove the lasso").click()
    expect(points.locator(".tile")).to_have_count(20)


def test_the_map_zooms_to_a_cluster_and_back(page: Page, hostile: Served) -> None:
    page.goto(f"{hostile.url}/explorer/#/map?colour=cluster")
    clusters = page.get_by_role("list", name="Colours by cluster").get_by_role("button")
    expect(clusters).to_have_count(7)
    points = page.get_by_role("region", name="Points")
    canvas = page.get_by_role("img", name="Map of 1100 points")
    whole = canvas.screenshot()
    clusters.last.click()
    expect(points.get_by_role("heading")).to_contain_text("points of cluster 7")
    expect(clusters.last).to_have_attribute("aria-pressed", "true")
    close = canvas.screenshot()
    assert close != whole
    page.reload()
    expect(points.get_by_role("heading")).to_contain_text("points of cluster 7")
    page.get_by_role("button", name="Show all points").click()
    expect(points.get_by_role("heading")).to_contain_text("that most queries find")
    page.get_by_role("group", name="Map: + and − zoom").focus()
    for key in ("+", "ArrowLeft", "ArrowUp", "-"):
        address = page.url
        page.keyboard.press(key)
        assert page.url != address
    page.keyboard.press("0")
    page.mouse.move(0, 0)
    assert canvas.screenshot() == whole


def test_limits_are_moved_and_nothing_is_written(page: Page, corpus_folder: Path) -> None:
    config = corpus_folder / "corpus.yaml"
    before = config.read_bytes()
    with served(corpus_folder) as running:
        page.goto(f"{running.url}/explorer/#/curation")
        expect(page.get_by_role("row", name="failed samples image.broken")).to_be_visible()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        expect(page.get_by_role("row", name="release all")).to_be_visible()
        policy = page.get_by_role("region", name="Another policy")
        expect(policy.get_by_role("status").first).to_contain_text("samples would be kept")
        page.get_by_label("exact max of text_chars").fill("21")
        page.keyboard.press("Enter")
        expect(policy.get_by_role("row", name="text_chars.max")).to_be_visible()
        slider = page.get_by_role("slider", name="min of image_width")
        slider.press("ArrowRight")
        assert "image_width.min" in page.url
        policy.get_by_text("The policy as YAML").click()
        expect(policy.locator("pre")).to_contain_text("text_chars: {max: 21")
        page.reload()
        expect(policy.get_by_role("row", name="text_chars.max")).to_be_visible()
        expect(page.get_by_label("exact max of text_chars")).to_have_value("21")
        lowest = page.get_by_role("list", name="Lowest by text_chars")
        lowest.scroll_into_view_if_needed()
        expect(lowest.locator("img").first).to_be_visible()
        expect(page.get_by_role("region", name="text_language")).to_contain_text("en")
        page.get_by_role("button", name="Remove the changes").click()
        expect(policy.get_by_role("row", name="text_chars.max")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert config.read_bytes() == before


def sql_text(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def test_a_narrow_screen_has_no_horizontal_scrolling(page: Page, hostile: Served) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(search_address(hostile, inputs=[{"id": f"{9:032x}"}], limit=50))
    expect(page.locator(".card").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_key_is_wanted_and_stays_in_the_tab(page: Page, corpus_folder: Path) -> None:
    secret = KeyFile(corpus_folder / "server-keys.json").create("reports")
    with served(corpus_folder) as running:
        page.goto(search_address(running, inputs=[{"text": "a red square"}], limit=3))
        page.get_by_label("API key").fill("isotrope_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("refused the key")).to_be_visible()
        page.get_by_label("API key").fill(secret)
        page.keyboard.press("Enter")
        corrected = page.get_by_role("region", name="Corrected")
        expect(corrected.locator("img").first).to_be_visible()
        page.reload()
        expect(corrected.locator(".card")).to_have_count(3)
        assert secret not in page.content()
        assert page.evaluate("localStorage.length") == 0


def test_a_restart_and_a_first_release_are_waited_for(page: Page, corpus_folder: Path) -> None:
    releases = corpus_folder / "tables" / "releases.lance"
    releases.rename(corpus_folder / "moved")
    with served(corpus_folder, Server(reload_seconds=0.05)) as running:
        port = int(running.url.rpartition(":")[2])
        page.goto(search_address(running, inputs=[{"text": "a red square"}], limit=3))
        expect(page.get_by_role("alert")).to_contain_text("no release yet")
        page.get_by_role("link", name="Curation").click()
        expect(page.get_by_role("row", name="failed samples image.broken")).to_be_visible()
        page.go_back()
        (corpus_folder / "moved").rename(releases)
        expect(page.locator(".card")).to_have_count(6)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    with served(corpus_folder, port=port):
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator(".card")).to_have_count(6)
        expect(page.get_by_role("alert")).to_have_count(0)
