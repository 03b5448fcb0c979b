"""The signals of pairs: against dense formulas, with planted hubs and with wrong pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.pairs.linear_head import LinearHead
from pipelines.pairs.signals import compare, cosine, gram_volume, union
from store.corrections.kernels.masks import IdIndex
from store.errors import EncoderError, InputError


def unit(rng: np.random.Generator, rows: int, dims: int = 16) -> np.ndarray:
    x = rng.normal(size=(rows, dims)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


SEEDS, ROWS = st.integers(0, 2**32 - 1), st.integers(1, 30)


@given(SEEDS, ROWS, st.integers(1, 40), st.integers(1, 12), st.floats(0, 1))
def test_values_equal_the_dense_formulas(
    seed: int, rows: int, bank: int, k: int, masked: float
) -> None:
    rng = np.random.default_rng(seed)
    a, b, others = (unit(rng, n) for n in (rows, rows, bank))
    hidden = rng.random((rows, bank)) < masked
    own = (a.astype(np.float64) * b).sum(axis=1)
    np.testing.assert_allclose(cosine(a, b), own, atol=1e-6)
    coordinates = rng.permutation(np.argwhere(hidden)).T
    comparison = compare(a, b, bank=others, masked=tuple(coordinates), k=k)
    for row in range(rows):
        if hidden[row].all():
            assert np.isnan(comparison.corrected[row])
            assert np.isnan(comparison.rank[row])
            continue
        near = np.sort(others[~hidden[row]] @ a[row])[::-1]
        assert comparison.rank[row] == pytest.approx((near > own[row]).mean(), abs=1e-6)
        assert comparison.corrected[row] == pytest.approx(own[row] - near[:k].mean(), abs=1e-5)


def test_bank_rows_that_share_either_part_are_masked_once() -> None:
    parts = (["p", "q", "r"], ["p", "s", "p"]), (["x", "y", "z"], ["x", "z", "w"])
    rows, columns = union(*(IdIndex(np.array(bank)).pairs(np.array(own)) for own, bank in parts))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 2), (2, 1)]
    nothing = IdIndex(np.array(["a"])).pairs(np.array(["b"]))
    assert [len(side) for side in union(nothing, nothing)] == [0, 0]


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
    """Images and captions of common topics, each modality around its own centre."""
    topic = unit(rng, rows, 64)
    centre = unit(rng, 2, 64)
    towers = [0.8 * c + topic + 0.06 * rng.normal(size=topic.shape) for c in centre]
    image, text = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in towers)
    return image.astype(np.float32), text.astype(np.float32)


def test_a_generic_caption_scores_below_specific_ones() -> None:
    rng = np.random.default_rng(0)
    image, text = pairs(rng, 400)
    bank, rest = slice(0, 200), slice(200, 400)
    generic = image[bank].mean(axis=0)
    captions = text[rest].copy()
    captions[:40] = generic / np.linalg.norm(generic)  # near to every image
    raw = cosine(captions, image[rest])
    assert np.median(raw[:40]) > np.median(raw[40:])
    comparison = compare(captions, image[rest], bank=image[bank])
    assert comparison.corrected[:40].max() < np.quantile(comparison.corrected[40:], 0.1)
    assert np.median(comparison.rank[:40]) > 0.3 > 0.01 > np.median(comparison.rank[40:])


def test_wrong_pairs_rank_like_random_pairs() -> None:
    rng = np.random.default_rng(1)
    image, text = pairs(rng, 600)
    shuffled = text.copy()
    shuffled[:100] = np.roll(text[:100], 1, axis=0)
    ranks = compare(image[:300], shuffled[:300], bank=text[300:]).rank
    assert ranks[:100].mean() == pytest.approx(0.5, abs=0.1)
    assert np.median(ranks[100:]) < 0.02


def test_ties_count_half_and_shapes_are_checked() -> None:
    rng = np.random.default_rng(2)
    a, b = unit(rng, 3), unit(rng, 3)
    assert compare(a[:1], b[:1], bank=b[[0, 0, 0]]).rank.tolist() == [0.5]
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
    np.savez(tmp_path / "broken.npz", weight=np.full((1, 16), np.nan), bias=np.zeros(1))
    with pytest.raises(EncoderError, match="not a finite number"):
        LinearHead(tmp_path / "broken.npz")
