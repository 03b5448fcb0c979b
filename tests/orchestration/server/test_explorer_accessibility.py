"""axe-core reports no barrier in any view, light or dark."""

from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from orchestration.server.explorer import BUILT
from tests.helpers.chromium import search_address
from tests.helpers.served import Served

pytestmark = pytest.mark.slow
AXE = BUILT.parent / "node_modules" / "axe-core" / "axe.min.js"
BARRIERS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
    .map(({ impact, id, nodes }) => `${impact} ${id}: ${nodes.map((n) => n.html).join(" | ")}`)"""


@pytest.fixture(autouse=True)
def axe() -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core: run `npm ci --ignore-scripts` in orchestration/explorer")


def barriers(page: Page) -> list[str]:
    """The violations of axe's rules in the page as it is now."""
    page.evaluate(AXE.read_text())
    return page.evaluate(BARRIERS)


def open_search(page: Page, server: Served) -> None:
    inputs = [{"text": "a red square"}, {"text": "blue", "weight": -0.2}]
    where = "image_width > 1"
    page.goto(search_address(server, inputs=inputs, where=where, limit=5))
    expect(page.locator(".card")).to_have_count(10)
    page.get_by_text("Why this rank?").first.click()
    expect(page.get_by_text("Nearest items").first).to_be_visible()


def open_sample(page: Page, server: Served) -> None:
    page.goto(search_address(server, inputs=[{"text": "a red square"}], limit=3))
    page.locator(".card").get_by_role("link").first.click()
    expect(page.locator(".tile").first).to_be_visible()


def open_map(page: Page, server: Served) -> None:
    page.goto(f"{server.url}/explorer/#/map?colour=cluster")
    page.get_by_role("list", name="Colours by cluster").get_by_role("button").first.click()
    expect(page.get_by_role("region", name="Points").get_by_role("link").first).to_be_visible()


def open_curation(page: Page, server: Served) -> None:
    page.goto(f"{server.url}/explorer/#/curation?set=text_chars.max=21")
    expect(page.get_by_role("row", name="text_chars.max")).to_be_visible()
    page.get_by_text("The policy as YAML").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("show", [open_search, open_sample, open_map, open_curation])
def test_no_view_has_barriers(
    page: Page,
    server: Served,
    show: Callable[[Page, Served], None],
    scheme: Literal["light", "dark"],
) -> None:
    page.emulate_media(color_scheme=scheme)
    show(page, server)
    assert barriers(page) == []


def test_a_barrier_is_seen(page: Page, server: Served) -> None:
    open_curation(page, server)
    page.evaluate("document.querySelector('.hint').style.color = '#999'")
    assert any(each.startswith("serious color-contrast") for each in barriers(page))
