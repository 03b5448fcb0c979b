"""Two dozen faults of `make soak` that are quick."""

import random
from pathlib import Path

import pytest

from tests.helpers.stores import S3Server
from tests.soak.soak import Soak, plan


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_tables_after_faults_equal_those_of_an_undisturbed_run(
    s3: S3Server, tmp_path: Path
) -> None:
    with Soak(tmp_path, s3, seed=4) as soak:
        soak.run(plan(24, random.Random(4), only="curation"))
    assert soak.injected.total() == 24
