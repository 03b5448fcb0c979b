"""Weights are data: a pickle that could run code is refused, whichever encoder loads it."""

import json
import os
import pickle
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from embedders.encoders.weights import check_tensors_only
from embedders.registry import load_encoder
from pipelines.pairs.linear_head import LinearHead
from pipelines.signals.scorers.image_classifier import network
from store.errors import EncoderError
from tests.helpers.towers import picture, save_clap, save_clip


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture(params=["zip", "old", "plain"])
def malicious(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> bytes:
    """A file of weights that runs code, in each format that torch reads."""
    # Other libraries' defaults can be turned off from outside; ours cannot.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    content = OrderedDict(weight=torch.ones(1, 4), bias=torch.ones(1), x=Malicious(proof(tmp_path)))
    file = tmp_path / "malicious"
    if request.param == "plain":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=request.param == "zip")
    return file.read_bytes()


def proof(tmp_path: Path) -> Path:
    return tmp_path / "code-has-run"


def test_the_malicious_file_works(malicious: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    file.write_bytes(malicious)
    with suppress(Exception):  # it runs first, and then torch may refuse what it returned
        torch.load(file, weights_only=False)
    assert proof(tmp_path).is_dir()


@pytest.mark.parametrize("loader", ["open_clip", "open_clip file", "clap", "timm", "sentence"])
def test_encoders_refuse_code(loader: str, malicious: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if loader == "open_clip":
        save_clip(folder)
        (folder / "open_clip_pytorch_model.bin").write_bytes(malicious)
        spec, modality = f"open_clip:local-dir:{folder}", "image"
    elif loader == "open_clip file":
        (folder / "x.pt").write_bytes(malicious)
        spec, modality = f"open_clip:ViT-B-32/{folder}/x.pt", "image"
    elif loader == "clap":
        save_clap(folder)
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(malicious)
        spec, modality = f"clap:{folder}?modality=text", "text"
    elif loader == "timm":
        (folder / "x.pth").write_bytes(malicious)
        spec, modality = f"timm:test_vit/{folder}/x.pth", "image"
    else:
        (folder / "modules.json").write_text(json.dumps([]))
        (folder / "pytorch_model.bin").write_bytes(malicious)
        spec, modality = f"sentence_transformers:{folder}", "text"
    encoder = load_encoder(spec)
    with pytest.raises(EncoderError, match=r"is refused: .*convert it to safetensors"):
        encoder.encode([encoder.prepare(picture(0) if modality == "image" else "a cat")])
    assert not proof(tmp_path).exists()


def test_classifiers_and_heads_refuse_code(malicious: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    file.write_bytes(malicious)
    with pytest.raises(EncoderError, match="is refused"):
        network("timm/test_vit", str(file))
    with pytest.raises(EncoderError, match="cannot read a linear head"):
        LinearHead(file)
    assert not proof(tmp_path).exists()


def test_tensors_are_accepted(tmp_path: Path) -> None:
    for zipped in (True, False):
        file = tmp_path / f"{zipped}.pt"
        state = {"weight": torch.ones(2), "nested": {"step": 3}}
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        check_tensors_only(file)
