"""Signals of pairs: against dense formulas, and on planted hubs and wrong pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.signals.linear_head import LinearHead
from pipelines.signals.pair import corrected_cosine, cosine, gram_volume, partner_rank
from store.errors import EncoderError, InputError


def unit(rng: np.random.Generator, rows: int, dims: int = 16) -> np.ndarray:
    x = rng.normal(size=(rows, dims)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


SEEDS, ROWS = st.integers(0, 2**32 - 1), st.integers(1, 30)


@settings(deadline=None)
@given(SEEDS, ROWS, st.integers(1, 40), st.integers(1, 12), st.booleans())
def test_formulas_hold(seed: int, rows: int, bank: int, k: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b, bank_a, bank_b = (unit(rng, n) for n in (rows, rows, bank + 1, bank + 1))
    ids, bank_ids = np.arange(rows), np.arange(bank + 1) + rows - 1
    if masked:
        bank_a[0], bank_b[0] = a[-1], b[-1]  # the last pair is in the bank
    given_ids = {"ids": ids, "bank_ids": bank_ids} if masked else {}
    own = (a.astype(np.float64) * b).sum(axis=1)
    np.testing.assert_allclose(cosine(a, b), own, atol=1e-6)
    ranks = partner_rank(a, b, bank_b=bank_b, **given_ids)
    best = corrected_cosine(a, b, bank_a=bank_a, bank_b=bank_b, k=k, **given_ids)
    for row in range(rows):
        others = np.flatnonzero(bank_ids != ids[row]) if masked else np.arange(bank + 1)
        nearer = bank_b[others] @ a[row]
        assert ranks[row] == pytest.approx((nearer > own[row]).mean(), abs=1e-6)
        r_a, r_b = (np.sort(s)[::-1][:k].mean() for s in (nearer, bank_a[others] @ b[row]))
        assert best[row] == pytest.approx(own[row] - r_a / 2 - r_b / 2, abs=1e-5)


@given(SEEDS, ROWS, st.integers(2, 4))
def test_the_volume_is_the_product_of_singular_values(seed: int, rows: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [unit(rng, rows) for _ in range(count)]
    volumes = gram_volume(*parts)
    expected = [np.linalg.svd(m, compute_uv=False).prod() for m in np.stack(parts, axis=1)]
    np.testing.assert_allclose(volumes, expected, atol=1e-5)
    np.testing.assert_allclose(gram_volume(*parts[::-1]), volumes, atol=1e-6)
    np.testing.assert_allclose(gram_volume(parts[0], *parts), 0, atol=1e-4)
    axes = [np.tile(np.eye(16, dtype=np.float32)[i], (rows, 1)) for i in range(count)]
    np.testing.assert_allclose(gram_volume(*axes), 1, atol=1e-6)


def pairs(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and captions that share what they are of, around a centre of their modality."""
    topic = unit(rng, rows, 64)
    centre = unit(rng, 2, 64)
    sides = [0.8 * c + topic + 0.06 * rng.normal(size=topic.shape) for c in centre]
    image, text = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in sides)
    return image.astype(np.float32), text.astype(np.float32)


def test_a_generic_caption_falls_below_honest_ones() -> None:
    rng = np.random.default_rng(0)
    image, text = pairs(rng, 400)
    bank, rest = slice(0, 200), slice(200, 400)
    generic = image[bank].mean(axis=0)
    wrong = text[rest].copy()
    wrong[:40] = generic / np.linalg.norm(generic)  # near to every image
    raw = cosine(image[rest], wrong)
    assert np.median(raw[:40]) > np.median(raw[40:])
    banks = {"bank_a": image[bank], "bank_b": text[bank]}
    fair = corrected_cosine(image[rest], wrong, **banks)
    assert np.quantile(fair[:40], 0.9) < np.quantile(fair[40:], 0.1)


def test_wrong_pairs_rank_like_random_ones() -> None:
    rng = np.random.default_rng(1)
    image, text = pairs(rng, 600)
    shuffled = text.copy()
    shuffled[:100] = np.roll(text[:100], 1, axis=0)
    ranks = partner_rank(image[:300], shuffled[:300], bank_b=text[300:])
    assert ranks[:100].mean() == pytest.approx(0.5, abs=0.1)
    assert np.median(ranks[100:]) < 0.02


def test_ties_count_half_and_shapes_are_checked() -> None:
    rng = np.random.default_rng(2)
    a, b = unit(rng, 3), unit(rng, 3)
    assert partner_rank(a[:1], b[:1], bank_b=b[[0, 0, 0]]).tolist() == [0.5]
    with pytest.raises(InputError, match="one shape"):
        cosine(a, b[:2])
    with pytest.raises(InputError, match="two vectors"):
        gram_volume(a)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_linear_head_is_read_from_its_file(tmp_path: Path, suffix: str) -> None:
    import torch
    from safetensors.numpy import save_file

    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 1)
    state = {n: v.detach().numpy() for n, v in layer.named_parameters()}
    path = tmp_path / f"head{suffix}"
    if suffix == ".npz":
        np.savez(path, **state)
    elif suffix == ".pth":
        torch.save(layer.state_dict(), path)
    else:
        save_file({f"head.{n}": v for n, v in state.items()}, path)
    vectors = unit(np.random.default_rng(3), 5)
    with torch.inference_mode():
        expected = layer(torch.from_numpy(vectors)).numpy()[:, 0]
    np.testing.assert_allclose(LinearHead(path)(vectors), expected, atol=1e-6)
    with pytest.raises(InputError, match="16"):
        LinearHead(path)(vectors[:, :8])
    np.savez(tmp_path / "other.npz", weight=np.zeros((3, 16)), bias=np.zeros(3))
    with pytest.raises(EncoderError, match="weight"):
        LinearHead(tmp_path / "other.npz")
