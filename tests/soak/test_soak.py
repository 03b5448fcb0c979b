"""A few faults in `make test`, two dozen in `make test-slow`; `make soak` injects 200."""

from pathlib import Path

import pytest

from tests.soak.faults import CURATION, WHOLE
from tests.soak.soak import Soak


@pytest.mark.timeout(600)
def test_curation_survives_a_few_faults(tmp_path: Path) -> None:
    soak = Soak(tmp_path, CURATION, whole=False, seed=3, samples=30)
    soak.run(4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_curation_survives_faults(tmp_path: Path) -> None:
    soak = Soak(tmp_path, CURATION, whole=False, seed=5, samples=60)
    soak.run(14)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whole_runs_survive_faults(tmp_path: Path) -> None:
    soak = Soak(tmp_path, WHOLE, whole=True, seed=7, samples=120)
    soak.run(10)
