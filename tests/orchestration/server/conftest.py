"""One server for the tests that do not change its corpus."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.workspace import Workspace
from tests.helpers.served import Served, served, stored_corpus


@pytest.fixture(scope="session")
def server(stored: Workspace) -> Iterator[Served]:
    """A server of the stored corpus, without keys."""
    with served(stored.root) as running:
        yield running


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """A corpus that the test may change."""
    return stored_corpus(tmp_path / "corpus").root
