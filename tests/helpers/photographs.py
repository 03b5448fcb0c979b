"""Pictures of pages for the documentation, taken by tests in a real browser."""

import os
import shutil
from pathlib import Path

VARIABLE = "ISOTROPE_PICTURES"
_SETTLE_MS = 4_000


def photograph(port: int, path: str, name: str) -> None:
    """Write a picture of a page, if the variable ISOTROPE_PICTURES names a folder.

    Args:
        port: of the server, on loopback.
        path: of the page, with its leading slash.
        name: of the PNG file.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"http://127.0.0.1:{port}{path}", timeout=120_000)
        page.wait_for_load_state("load", timeout=120_000)
        page.wait_for_timeout(_SETTLE_MS)
        page.screenshot(path=Path(folder) / name)
        browser.close()
