"""One server for the tests that do not change its corpus, and a browser for the explorer."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from store.workspace import Workspace
from tests.helpers.served import Served, served, stored_corpus

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def server(stored: Workspace) -> Iterator[Served]:
    """A server of the stored corpus, without keys."""
    with served(stored.root) as running:
        yield running


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """A corpus that the test may change."""
    return stored_corpus(tmp_path / "corpus").root


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Playwright has an event loop in the thread of the tests: only while a module needs it."""
    from tests.helpers.chromium import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    """A new page, in which no script may fail."""
    from tests.helpers.chromium import new_page

    with new_page(browser) as opened:
        yield opened
