"""The corpus that the tests of exports share."""

import pytest

from store.workspace import Workspace
from tests.helpers.exports import write_corpus
from tests.helpers.stages import curate


@pytest.fixture(scope="package")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A corpus with decisions. Tests leave it unchanged."""
    root = tmp_path_factory.mktemp("export")
    write_corpus(root)
    return curate(root)
