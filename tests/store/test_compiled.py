"""Every correction that is compiled into a gallery ranks exactly as its dense formula does."""

import lance
import numpy as np
import pyarrow as pa
import pytest

from store.corrections import fit
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_corrected
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import BIAS_SCALE, fold, query_vector, unfold
from store.tables import schema
from store.tables.direction import Direction

DIM, ROWS = 12, 400
METHODS = [
    "none", "inverted_softmax", "dual_inverted_softmax", "nnn", "csls", "local_scaling", "invgc",
    "invgc_local", "centered", "dynamic_inverted_softmax", "dynamic_dual_inverted_softmax",
    "invgc_local+nnn", "invgc_local+dynamic_inverted_softmax", "sinkhorn", "centered+nnn",
    "centered+sinkhorn", "canonical", "canonical+nnn",
]  # fmt: skip
RNG = np.random.default_rng(5)


def unit_rows(rows: int, shift: float = 0.6) -> np.ndarray:
    x = RNG.normal(size=(rows, DIM)) + shift
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


GALLERY, QUERY_BANK, GALLERY_BANK = unit_rows(ROWS), unit_rows(90), unit_rows(80)
QUERIES = unit_rows(25)


def compile_to(folder, methods: dict[str, str]):
    """A gallery table with one correction for each query modality, its directions, and the fitted
    corrections."""
    columns, directions, fitted = {}, {}, {}
    folded = {}
    for m, method in methods.items():
        c = fitted[m] = fit(
            method, gallery=GALLERY, query_bank=QUERY_BANK, gallery_bank=GALLERY_BANK,
            query_bank_ids=np.arange(len(QUERY_BANK)),
            gallery_bank_ids=np.arange(len(GALLERY_BANK)),
        )  # fmt: skip
        # Text as releases have it that were made before biases had a scale.
        scale = 1.0 if m == "text" else BIAS_SCALE
        directions[m] = Direction(
            m, "image", method, c.params, "", 0, centre=float(c.bias.mean()), scale=scale
        )
        columns[f"bias_{m}"] = pa.array(c.bias)
        columns[f"hub_{m}"] = pa.array(np.zeros(ROWS, bool) if c.flag is None else c.flag)
        if directions[m].recipe.moves:
            columns[f"vector_{m}"] = _vector_column(fold(c.vectors, {m: c.bias}, directions))
        else:
            folded[m] = c.bias
    columns["vector"] = _vector_column(fold(GALLERY, folded, directions))
    columns["id"] = pa.array([f"{i:03d}" for i in range(ROWS)])
    columns["number"] = pa.array(range(ROWS))
    table = lance.write_dataset(pa.table(columns), f"{folder}/g.lance")
    return OpenGallery(table), directions, fitted


def _vector_column(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", [None, "number >= 300"])
def test_one_input(tmp_path, method: str, where: str | None) -> None:
    table, directions, fitted = compile_to(tmp_path, {"text": method})
    admitted = np.arange(ROWS) >= (300 if where else 0)
    indices, scores = fitted["text"].rank(QUERIES, 10, where=admitted)
    for query, expected, score in zip(QUERIES, indices, scores, strict=True):
        inputs = [WeightedInput("text", query, 1.0)]
        result = search_corrected(table, inputs, directions, ["id", "number"], where, 10)
        assert result.complete
        assert result.rows["number"].to_pylist() == list(expected)
        np.testing.assert_allclose(result.rows["_score"], score, atol=1e-5)
        raw = GALLERY[result.rows["number"].to_numpy()] @ query
        np.testing.assert_allclose(result.rows["_raw_score"], raw, atol=1e-5)
        np.testing.assert_allclose(result.rows["_bias"], raw - score, atol=2e-5)


@pytest.mark.parametrize(
    ("text", "image"),
    [("nnn", "inverted_softmax"), ("invgc_local+nnn", "csls"), ("none", "local_scaling"),
     ("centered", "invgc"), ("dynamic_inverted_softmax", "nnn")],
)  # fmt: skip
def test_mixed_inputs_are_exact_over_several_columns(tmp_path, text: str, image: str) -> None:
    table, directions, fitted = compile_to(tmp_path, {"text": text, "image": image})
    weights = {"text": 0.7, "image": 0.3}
    for i in range(0, 24, 2):
        vectors = {"text": QUERIES[i], "image": QUERIES[i + 1]}
        total = np.zeros(ROWS)
        for m, weight in weights.items():
            c = fitted[m]
            raw = c.vectors @ vectors[m]
            is_corrected = c.flag is None or c.flag[int(np.argmax(raw))]
            total += weight * (raw - (c.bias if is_corrected else 0))
        inputs = [WeightedInput(m, vectors[m], weights[m]) for m in vectors]
        result = search_corrected(table, inputs, directions, ["number"], None, 8)
        assert result.complete
        assert result.rows["number"].to_pylist() == list(np.argsort(-total, kind="stable")[:8])
        np.testing.assert_allclose(
            result.rows["_score"], np.sort(total)[::-1][:8], rtol=1e-5, atol=1e-5
        )


def test_dynamic_corrections_differ_by_query(tmp_path) -> None:
    """Some queries are corrected and some are not. Without both, the tests above prove nothing."""
    _, _, fitted = compile_to(tmp_path, {"text": "dynamic_inverted_softmax"})
    flag = fitted["text"].flag[np.argmax(QUERIES @ GALLERY.T, axis=1)]
    assert 0 < flag.sum() < len(QUERIES)


def test_modalities_without_weight_are_not_corrected() -> None:
    bias = {"text": np.arange(ROWS, dtype=np.float32)}
    directions = {
        m: Direction(m, "image", "nnn", {}, "", 0, scale=BIAS_SCALE) for m in ("text", "image")
    }
    rows = fold(GALLERY, bias, directions)
    query = QUERIES[0]
    raw = GALLERY @ query
    assert rows.shape == (ROWS, schema.served_width(DIM))
    np.testing.assert_array_equal(unfold(rows, DIM), GALLERY)
    np.testing.assert_allclose(rows @ query_vector(query, {}, {}), raw, atol=1e-6)
    half = rows @ query_vector(query, {"text": 0.5}, directions)
    np.testing.assert_allclose(half, raw - 0.5 * bias["text"], rtol=1e-5)
    image = rows @ query_vector(query, {"image": 1.0}, directions)
    np.testing.assert_allclose(image, raw, atol=1e-6)
