"""`isotrope layers`: the layers of two encoders are compared on pairs of the corpus."""

import json
from pathlib import Path

import numpy as np
import pytest

from embedders.encoder import unit_rows
from pipelines.vectors.layers import compare_layers
from store.errors import EncoderError, InputError, RecordError
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, DIM, ColourImage, ColourText, deliver, write_config
from tests.helpers.stages import curate
from tests.orchestration.test_cli import isotrope as run_isotrope

MODULE = "python:tests.pipelines.vectors.test_layers"


def noise(count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, dim)).astype(np.float32)


class LayeredImage(ColourImage):
    """The second of its three layers is that of `ColourImage`; its own vectors are noise."""

    name = "layered-image"
    fingerprint = "layered-image@1"
    layer_dims = (4, DIM, 6)

    def encode_layers(self, batch: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        rows = super().encode(batch)
        vectors = unit_rows(noise(len(batch), DIM))
        return [noise(len(batch), 4), rows, noise(len(batch), 6)], vectors

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        raise AssertionError("the model ran a second time")


class LayeredText(ColourText):
    """The first of its two layers is that of `ColourText`."""

    name = "layered-text"
    fingerprint = "layered-text@1"
    layer_dims = (DIM, 5)

    def prepare(self, raw: str) -> str:
        if raw.endswith(" 7"):
            raise RecordError("text.test", "refused")
        return raw

    def encode_layers(self, batch: list[str]) -> tuple[list[np.ndarray], np.ndarray]:
        layers = [super().encode(batch), noise(len(batch), 5)]
        return layers, unit_rows(noise(len(batch), DIM))

    def encode(self, batch: list[str]) -> np.ndarray:
        raise AssertionError("the model ran a second time")


def with_towers(root: Path, image: str, text: str) -> Workspace:
    before, _, _ = CONFIG.partition("    image:")
    write_config(root, f"{before}    image: {image}\n    text: {text}\n")
    return Workspace.open(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    write_config(folder)
    deliver(folder / "drops" / "first", 80)
    curate(folder)
    return folder


IMAGE = f'{{encoder: "{MODULE}:LayeredImage?layer=3", aligned_by: text}}'


def test_the_layer_that_is_most_alike_a_kept_tower(root: Path) -> None:
    workspace = with_towers(root, IMAGE, '"python:tests.helpers.corpus:ColourText"')
    (found,) = compare_layers(workspace)
    assert found.shares.shape == (4, 1)
    assert found.pairs == 80
    assert found.best[0] == f"{MODULE}:LayeredImage?layer=2"
    assert found.shares[1, 0] > 0.5 > 0.35 > found.shares[[0, 2, 3], 0].max()
    (fewer,) = compare_layers(workspace, 60)
    assert fewer.pairs == 60


def test_two_towers_that_name_each_other(root: Path) -> None:
    text = f'{{encoder: "{MODULE}:LayeredText", aligned_by: image}}'
    with_towers(root, IMAGE, text)
    (answer,) = json.loads(run_isotrope("layers", "--json", "--corpus", root))
    assert answer["pairs"] == 79  # the encoder refuses the caption that ends in 7
    assert np.shape(answer["mutual_neighbours"]) == (4, 3)
    assert answer["best"] == [f"{MODULE}:LayeredImage?layer=2", f"{MODULE}:LayeredText?layer=1"]
    printed = run_isotrope("layers", "--corpus", root)
    assert "most alike" in printed
    assert "79 pairs; by chance 0.128" in " ".join(printed.split())


def test_what_cannot_be_compared_is_refused(root: Path) -> None:
    plain = '{encoder: "python:tests.helpers.corpus:ColourImage", aligned_by: text}'
    text = '"python:tests.helpers.corpus:ColourText"'
    with pytest.raises(EncoderError, match="offers no layers"):
        compare_layers(with_towers(root, plain, text))
    with pytest.raises(InputError, match="has no tower to align"):
        compare_layers(with_towers(root, '"python:tests.helpers.corpus:ColourImage"', text))
    with pytest.raises(InputError, match=r"40 pairs .* too few"):
        compare_layers(with_towers(root, IMAGE, text), 40)
