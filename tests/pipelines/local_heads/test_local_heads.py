"""Training of the local space's heads: what is held out, and the figures in their metadata."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from embedders.alignment.closed_form import ridge_projection, whitened_projection
from embedders.encoder import unit_rows
from embedders.local import shared
from embedders.local.image import LocalImage
from embedders.local.mel import mel_windows
from embedders.local.text import LocalText
from pipelines.local_heads.captioned_drawings import stamps, title_and_keywords
from pipelines.local_heads.evaluate import evaluate_direction
from pipelines.local_heads.holdout import (
    are_copies,
    difference_hash,
    group_similar,
    held_out,
)
from store.errors import InputError, SourceError


def ellipse(left: int, grey: int = 0) -> bytes:
    """A PNG of a grey ellipse on white."""
    picture = Image.new("RGB", (120, 120), "white")
    ImageDraw.Draw(picture).ellipse((left, 10, left + 50, 90), fill=(grey, grey, grey))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_similar_stamps_are_held_out_together():
    keys = ["a/frog", "a/frog-1", "b/toad", "b/cat", "c/hare2", "c/hare", "d/x", "e/0", "e/1"]
    captions = ["A frog.", "Frogs!", "a FROG", "A cat.", "A hare.", "Hares.", "Six.", "No.", "One."]
    hashes = np.random.default_rng(0).random((9, 256)) < 0.5
    hashes[6] = hashes[3]
    hashes[6, :10] ^= True
    groups = group_similar(keys, captions, hashes)
    assert len(set(groups[[0, 1, 2]])) == len(set(groups[[3, 6]])) == len(set(groups[[4, 5]])) == 1
    assert len(set(groups)) == 5
    held = held_out(keys, groups)
    for group in set(groups):
        assert len(set(held[groups == group])) == 1
    order = np.random.default_rng(1).permutation(9)
    shuffled = [[column[i] for i in order] for column in (keys, captions)]
    held_of_shuffled = held_out(shuffled[0], group_similar(*shuffled, hashes[order]))
    np.testing.assert_array_equal(held_of_shuffled, held[order])


def test_difference_hashes_detect_copies():
    one, copy, other = (difference_hash(ellipse(*p)) for p in ((10,), (10, 60), (60,)))
    assert are_copies(one[None], copy[None]).all()
    assert not are_copies(one[None], other[None]).any()


def test_titles_lose_authors_and_numbers():
    titles = "<dc:title>{}</dc:title><dc:title>Gerald Ganson</dc:title>"
    tags = "<rdf:li>hash</rdf:li><rdf:li>music_equipment</rdf:li><rdf:li></rdf:li>"
    mute = title_and_keywords(titles.format("Trumpet Mute 2") + tags, "music/mute_ganson_02")
    assert mute == ("trumpet mute", ["music equipment"])
    assert title_and_keywords(titles.format("A Collection"), "music/mute_ganson_02")[0] == "mute"


def test_ridge_recovers_a_linear_map_and_respects_weights():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)) * rng.uniform(0.1, 9, 20) + 5
    y = (x - x.mean(0)) @ rng.normal(size=(20, 8))
    targets = unit_rows(y)
    np.testing.assert_allclose(
        (ridge_projection(x, y, penalty=1e-6)(x) * targets).sum(1), 1, atol=1e-3
    )
    contradictory = np.concatenate([y, -y])
    doubled, weights = np.concatenate([x, x]), np.repeat([1.0, 1e-3], 300)
    cosines = (
        ridge_projection(doubled, contradictory, penalty=1e-3, weights=weights)(x) * targets
    ).sum(1)
    assert cosines.min() > 0.99


def test_whitening_equalises_the_variance_of_components():
    rng = np.random.default_rng(0)
    rows = (
        rng.normal(size=(2000, 10)) * np.arange(1, 11) @ np.linalg.qr(rng.normal(size=(10, 10)))[0]
    )
    spread = {}
    for power in (0.0, 1.0):
        head = whitened_projection(rows, 6, power=power)
        projected = rows @ head.tensors["weight"] + head.tensors["bias"]
        np.testing.assert_allclose(projected.mean(0), 0, atol=1e-2)
        spread[power] = projected.std(0).max() / projected.std(0).min()
    assert spread[0.0] > 1.8
    assert spread[1.0] < 1.05
    with pytest.raises(InputError, match="principal components"):
        whitened_projection(rows, 11)


def test_chance_is_the_recall_of_random_rankings():
    rng = np.random.default_rng(0)
    captions = np.repeat(np.arange(20), 3)
    rows = []
    for _ in range(30):
        queries, gallery = (unit_rows(rng.normal(size=(60, 16))) for _ in range(2))
        rows.append(evaluate_direction(queries, gallery, np.arange(60), captions))
    assert np.mean([f.figures["r@10"] for f in rows]) == pytest.approx(rows[0].chance, abs=0.03)


def test_spectrograms_follow_pitch_and_length():
    time = np.arange(16000 * 5) / 16000
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (200, 3000))
    windows = [mel_windows(sound) for sound in (low, high, low[:160])]
    assert [w.shape for w in windows] == [(4, 224, 224), (4, 224, 224), (1, 224, 224)]
    rows = [int(w[0].mean(axis=1).argmax()) for w in windows[:2]]
    assert rows[0] > 150 > 90 > rows[1]  # a higher pitch has a smaller row index
    assert mel_windows(np.zeros(100, np.float32)).shape == (1, 224, 224)


def test_the_heads_metadata_names_the_training_data():
    metas = [shared.head(modality).meta for modality in ("text", "image", "audio")]
    assert metas[0] == metas[1] == metas[2]
    assert set(metas[0]["data"]) == {"stamps", "openmoji", "openclipart", "glyphs"}
    assert metas[0]["figures"]["both text->image"]["r@10"] > 0.6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_heads_reach_the_figures_in_their_metadata(tmp_path):
    try:
        drawings = list(stamps(tmp_path, lambda _: None))
    except SourceError as error:
        pytest.skip(str(error))
    keys, captions = [d.key for d in drawings], [d.caption for d in drawings]
    hashes = np.stack([difference_hash(d.image) for d in drawings])
    held = np.flatnonzero(held_out(keys, group_similar(keys, captions, hashes)))
    text, image = LocalText(), LocalImage()
    texts = text.encode([captions[i] for i in held])
    batches = np.array_split(held, len(held) // 16)
    images = [image.encode([image.prepare(drawings[i].image) for i in batch]) for batch in batches]
    row = evaluate_direction(texts, np.concatenate(images), np.arange(len(held)), None)
    meta = shared.head("image").meta
    assert row.queries == meta["held_out"]
    assert row.figures["r@10"] == pytest.approx(
        meta["figures"]["both text->image"]["r@10"], abs=0.01
    )
