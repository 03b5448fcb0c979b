"""Two faults in `make test-slow`; `make soak` injects 200."""

from pathlib import Path

import pytest

from tests.soak.faults import CURATION
from tests.soak.soak import Soak


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_curation_survives_faults(tmp_path: Path) -> None:
    soak = Soak(tmp_path, CURATION, whole=False, seed=4, samples=20)
    soak.run(2)
    assert soak.injected.total() == 2
