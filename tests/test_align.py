"""Towers that are aligned by others: learned from the corpus's own pairs, kept, and searched."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import make

import isotrope
from embedders.encoder import unit_rows
from embedders.spaces import Space, in_order, open_space
from orchestration.cli import main
from pipelines import plan
from pipelines.align import align_space
from pipelines.embed import embed
from pipelines.space import corpus_space
from store import projections, schema
from store.errors import EncoderError, InputError, NotAlignedError
from store.workspace import Workspace
from tests.corpus_for_tests import CONFIG, DIM, ColourImage, ColourText, begin, deliver

TEXT = "python:tests.corpus_for_tests:ColourText"
IMAGE = "python:tests.test_align:TurnedImage"
ONE_SIDED = CONFIG.replace(
    '"python:tests.corpus_for_tests:ColourImage"', f'{{encoder: "{IMAGE}", aligned_by: text}}'
)
TURN = np.random.default_rng(5).normal(size=(DIM, 24)).astype(np.float32)


class TurnedImage(ColourImage):
    """What `ColourImage` sees, in a space of its own; notes what it has encoded."""

    name = "turned-image"
    dim = 24
    fingerprint = "turned-image@1"

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        with Path("/tmp/x").open("a"):
            pass
        return unit_rows(super().encode(batch) @ TURN)
