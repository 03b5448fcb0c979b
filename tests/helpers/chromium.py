"""The explorer's page in a real Chromium."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.helpers.served import Served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_WAIT = 90_000  # milliseconds that a page may need on a busy machine


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium. Without one on the PATH, the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH: apt install chromium")
    expect.set_options(timeout=_WAIT)
    # The sandbox of Chromium refuses to run as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test if a script fails or the content security policy is broken."""
    page = browser.new_page()
    page.set_default_timeout(_WAIT)
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            problems.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert problems == []


def search_address(server: Served, **query: object) -> str:
    """The address of a search in the explorer of a server."""
    return f"{server.url}/explorer/#/search?q={quote(json.dumps(query))}"
