"""Token vectors of encoders: what a vector is pooled from, without special ones."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedders.encoder import Encoder, unit_rows
from embedders.registry import load_encoder
from embedders.spaces import encode_inputs, open_space
from embedders.tokens import MOST, averaged
from store.errors import EncoderError
from store.tables.tokens import TokenSets, fingerprint, token_space, unpack
from tests.helpers.encoders import Hashing
from tests.helpers.towers import picture, save_clip

TEXTS = ["a tiger", "two boats on a lake at dusk", "word " * 300]


def token_sets(spec: str, raws: list) -> TokenSets:
    encoder = load_encoder(f"{spec}{'&' if '?' in spec else '?'}tokens={MOST}")
    assert isinstance(encoder, Encoder)
    rows = encoder.encode([encoder.prepare(raw) for raw in raws])
    assert rows.shape == (len(raws), encoder.dim)
    assert rows.dtype == np.float32
    sets = unpack(rows)
    np.testing.assert_allclose(np.linalg.norm(sets.vectors, axis=1), 1, atol=1e-5)
    return sets


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{save_clip(tmp_path_factory.mktemp('clip'))}"


def test_tokens_of_minilm_have_the_mean_that_the_text_has() -> None:
    model = load_encoder("local:text")._model
    with torch.inference_mode():
        hidden, _, _ = model._last_layer(TEXTS)
    tokens, means = model.encode_tokens(TEXTS), model.encode(TEXTS)
    for own, states, mean in zip(tokens, hidden.numpy(), means, strict=True):
        # The vector of a text is the mean of all positions; the first and the last are special.
        first, last = states[0], states[len(own) + 1]
        total = own.sum(axis=0) + first + last
        np.testing.assert_allclose(total / (len(own) + 2), mean, atol=1e-5)
    sets = token_sets("local:text", TEXTS)
    assert sets.lengths.tolist() == [2, 7, MOST]
    alone = [token_sets("local:text", [text]).vectors for text in TEXTS]
    np.testing.assert_allclose(np.concatenate(alone), sets.vectors, atol=1e-4)


def test_tokens_of_open_clip_are_projected_outputs(clip: str) -> None:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(clip)
    model.eval()
    images = [picture(0), picture(1)]
    captured: list[torch.Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, __, output: captured.append(output))
        for layer in (model.visual.ln_post, model.ln_final)
    ]
    ids = open_clip.get_tokenizer(clip)(TEXTS)
    with torch.inference_mode():
        pixels = torch.stack([preprocess(Image.open(io.BytesIO(each))) for each in images])
        pooled = model.encode_image(pixels), model.encode_text(ids)
        projected = [captured[0] @ model.visual.proj, captured[1] @ model.text_projection]
    for handle in handles:
        handle.remove()
    # The library's own vectors are the outputs at the class token and at the end of the text.
    ends = ids.argmax(dim=-1)
    np.testing.assert_allclose(projected[0][:, 0], pooled[0], atol=1e-5)
    np.testing.assert_allclose(projected[1][np.arange(3), ends], pooled[1], atol=1e-5)

    of_images = token_sets(f"open_clip:{clip}?modality=image", images)
    assert of_images.lengths.tolist() == [4, 4]  # 32 x 32 pixels in patches of 16
    expected = unit_rows(projected[0][:, 1:].reshape(8, -1).numpy())
    np.testing.assert_allclose(of_images.vectors, expected, atol=1e-5)

    of_texts = token_sets(f"open_clip:{clip}?modality=text", TEXTS)
    assert of_texts.lengths.tolist() == [2, 7, MOST]
    expected = unit_rows(projected[1][1, 1 : ends[1]].numpy())
    np.testing.assert_allclose(of_texts.vectors[2:9], expected, atol=1e-5)


def test_a_space_encodes_the_tokens_of_queries(clip: str) -> None:
    config = {"image": f"open_clip:{clip}", "text": f"open_clip:{clip}"}
    space, plain = open_space("clip", token_space(config)), open_space("clip", config)
    for modality, raw in (("image", picture(2)), ("text", "a tiger")):
        assert space.query_fingerprint(modality) == fingerprint(plain.query_fingerprint(modality))
        rows = encode_inputs(space, {modality: [raw]})[modality]
        expected = token_sets(f"open_clip:{clip}?modality={modality}", [raw])
        np.testing.assert_allclose(unpack(rows).vectors, expected.vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("local:image?tokens=64", "local-image has no token vectors; towers that have: local:text"),
        ("local:text?tokens=8", "tokens=8; allowed: 64"),
        ("python:tests.helpers.encoders:Hashing?tokens=64", "hashing has no token vectors"),
    ],
)
def test_encoders_without_tokens_are_refused(spec: str, message: str) -> None:
    assert Hashing.name == "hashing"
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec)


def test_towers_whose_pooling_has_no_tokens_are_refused(tmp_path: Path) -> None:
    from embedders.encoders import open_clip_tokens

    with pytest.raises(EncoderError, match="no token vectors"):
        open_clip_tokens.of_patches(type("Model", (), {"visual": torch.nn.Linear(2, 2)})(), None)
    with pytest.raises(EncoderError, match="no token vectors"):
        open_clip_tokens.of_text(type("Model", (), {"text": torch.nn.Linear(2, 2)})(), None)


@given(st.integers(1, 300), st.booleans(), st.sampled_from([4, 16, 64]))
def test_many_tokens_are_averaged(count: int, is_grid: bool, most: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    out = averaged(rows, is_grid, most)
    assert len(out) == min(count, most)
    if count <= most:
        assert out is rows
        return
    side = round(count**0.5)
    if is_grid and side * side == count:
        fewer, grid = round(most**0.5), rows.reshape(side, side, 3)
        starts = [-(-side * n // fewer) for n in range(fewer + 1)]
        expected = [
            grid[starts[a] : starts[a + 1], starts[b] : starts[b + 1]].mean(axis=(0, 1))
            for a in range(fewer)
            for b in range(fewer)
        ]
    else:
        starts = [-(-count * n // most) for n in range(most + 1)]
        expected = [rows[starts[n] : starts[n + 1]].mean(axis=0) for n in range(most)]
    np.testing.assert_allclose(out, expected, atol=1e-5)
