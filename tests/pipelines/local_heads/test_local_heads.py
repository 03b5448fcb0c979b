"""How the heads of the local space were made: what is held out, and the figures that they claim."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embedders.alignment.closed_form import ridge, whitened
from embedders.encoder import unit_rows
from embedders.local import shared
from embedders.local.image import LocalImage
from embedders.local.mel import mel_windows
from embedders.local.text import LocalText
from pipelines.local_heads.captioned_drawings import _described, stamps
from pipelines.local_heads.evaluate import between
from pipelines.local_heads.holdout import alike, groups, held_out, picture_hash
from store.errors import InputError, SourceError


def shape(place: int, grey: int = 0) -> bytes:
    picture = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(picture).ellipse((place, 10, place + 50, 90), fill=(grey, grey, grey))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_what_is_alike_is_held_out_together():
    keys = ["a/frog", "a/frog-1", "b/toad", "b/cat", "c/hare2", "c/hare", "d/x", "e/0", "e/1"]
    captions = ["A frog.", "Frogs!", "a FROG", "A cat.", "A hare.", "Hares.", "Six.", "No.", "One."]
    hashes = np.random.default_rng(0).random((9, 256)) < 0.5
    hashes[6] = hashes[3]
    hashes[6, :10] ^= True
    joined = groups(keys, captions, hashes)
    assert len(set(joined[[0, 1, 2]])) == len(set(joined[[3, 6]])) == len(set(joined[[4, 5]])) == 1
    assert len(set(joined)) == 5
    held = held_out(keys, joined)
    for group in set(joined):
        assert len(set(held[joined == group])) == 1
    order = np.random.default_rng(1).permutation(9)
    turned = [[column[i] for i in order] for column in (keys, captions)]
    again = held_out(turned[0], groups(*turned, hashes[order]))
    np.testing.assert_array_equal(again, held[order])


def test_hashes_of_pictures_tell_copies():
    one, copy, other = (picture_hash(shape(*p)) for p in ((10,), (10, 60), (60,)))
    assert alike(one[None], copy[None]).all()
    assert not alike(one[None], other[None]).any()


def test_descriptions_lose_authors_and_numbers():
    titles = "<dc:title>{}</dc:title><dc:title>Gerald Ganson</dc:title>"
    tags = "<rdf:li>hash</rdf:li><rdf:li>music_equipment</rdf:li><rdf:li></rdf:li>"
    mute = _described(titles.format("Trumpet Mute 2") + tags, "music/mute_ganson_02")
    assert mute == ("trumpet mute", ["music equipment"])
    assert _described(titles.format("A Collection"), "music/mute_ganson_02")[0] == "mute"


def test_ridge_finds_a_planted_map_and_weights_count():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)) * rng.uniform(0.1, 9, 20) + 5
    y = (x - x.mean(0)) @ rng.normal(size=(20, 8))
    right = unit_rows(y)
    np.testing.assert_allclose((ridge(x, y, penalty=1e-6)(x) * right).sum(1), 1, atol=1e-3)
    wrong = np.concatenate([y, -y])
    twice, weights = np.concatenate([x, x]), np.repeat([1.0, 1e-3], 300)
    agreed = (ridge(twice, wrong, penalty=1e-3, weights=weights)(x) * right).sum(1)
    assert agreed.min() > 0.99


def test_whitening_evens_out_components():
    rng = np.random.default_rng(0)
    rows = (
        rng.normal(size=(2000, 10)) * np.arange(1, 11) @ np.linalg.qr(rng.normal(size=(10, 10)))[0]
    )
    spread = {}
    for power in (0.0, 1.0):
        head = whitened(rows, 6, power=power)
        found = rows @ head.tensors["weight"] + head.tensors["bias"]
        np.testing.assert_allclose(found.mean(0), 0, atol=1e-2)
        spread[power] = found.std(0).max() / found.std(0).min()
    assert spread[0.0] > 1.8
    assert spread[1.0] < 1.05
    with pytest.raises(InputError, match="principal components"):
        whitened(rows, 11)


def test_chance_is_what_random_rankings_give():
    rng = np.random.default_rng(0)
    captions = np.repeat(np.arange(20), 3)
    found = [
        between(*unit_rows(rng.normal(size=(2, 60, 16)).reshape(120, 16)).reshape(2, 60, 16),
                np.arange(60), captions)
        for _ in range(30)
    ]  # fmt: skip
    assert np.mean([f.figures["r@10"] for f in found]) == pytest.approx(found[0].chance, abs=0.03)


def test_spectrograms_follow_pitch_and_length():
    time = np.arange(16000 * 5) / 16000
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (200, 3000))
    windows = [mel_windows(sound) for sound in (low, high, low[:160])]
    assert [w.shape for w in windows] == [(4, 224, 224), (4, 224, 224), (1, 224, 224)]
    rows = [int(w[0].mean(axis=1).argmax()) for w in windows[:2]]
    assert rows[0] > 150 > 90 > rows[1]  # pitch runs upwards
    assert mel_windows(np.zeros(100, np.float32)).shape == (1, 224, 224)


def test_the_heads_say_what_they_were_learned_from():
    metas = [shared.head(modality).meta for modality in ("text", "image", "audio")]
    assert metas[0] == metas[1] == metas[2]
    assert set(metas[0]["data"]) == {"stamps", "openmoji", "openclipart", "glyphs"}
    assert metas[0]["figures"]["both text->image"]["r@10"] > 0.6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_heads_do_what_they_claim(tmp_path):
    try:
        drawn = list(stamps(tmp_path, lambda _: None))
    except SourceError as error:
        pytest.skip(str(error))
    keys, captions = [d.key for d in drawn], [d.caption for d in drawn]
    hashes = np.stack([picture_hash(d.picture) for d in drawn])
    held = np.flatnonzero(held_out(keys, groups(keys, captions, hashes)))
    text, image = LocalText(), LocalImage()
    texts = text.encode([captions[i] for i in held])
    batches = np.array_split(held, len(held) // 16)
    images = [image.encode([image.prepare(drawn[i].picture) for i in some]) for some in batches]
    found = between(texts, np.concatenate(images), np.arange(len(held)), None)
    claimed = shared.head("image").meta
    assert found.queries == claimed["held_out"]
    assert found.figures["r@10"] == pytest.approx(
        claimed["figures"]["both text->image"]["r@10"], abs=0.01
    )
