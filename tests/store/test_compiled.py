"""Every correction compiled into a gallery ranks as its dense formula does, whatever is asked."""

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from store.corrections import fit
from store.search.corrected_search import Weighted, corrected
from store.search.vector_layout import fold, query_vector, unfold
from store.tables import schema
from store.tables.releases import Direction

DIM, ROWS = 12, 400
METHODS = [
    "none", "inverted_softmax", "dual_inverted_softmax", "nnn", "csls", "local_scaling", "invgc",
    "invgc_local", "centered", "dynamic_inverted_softmax", "dynamic_dual_inverted_softmax",
    "invgc_local+nnn", "invgc_local+dynamic_inverted_softmax",
]  # fmt: skip
RNG = np.random.default_rng(5)


def units(rows: int, shift: float = 0.6) -> np.ndarray:
    x = RNG.normal(size=(rows, DIM)) + shift
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


G, B, H, Q = units(ROWS), units(90), units(80), units(25)


def compile_to(folder, methods: dict[str, str]):
    """A gallery table with a correction for each query modality, and its directions."""
    columns, ways, fitted = {}, {}, {}
    folded, centre = {}, {}
    for m, method in methods.items():
        c = fitted[m] = fit(method, gallery=G, query_bank=B, gallery_bank=H)
        centre[m] = float(c.bias.mean())
        ways[m] = Direction(m, "image", method, c.params, "", 0, centre=centre[m])
        columns[f"bias_{m}"] = pa.array(c.bias)
        columns[f"hub_{m}"] = pa.array(np.zeros(ROWS, bool) if c.flag is None else c.flag)
        if ways[m].recipe.moves:
            columns[f"vector_{m}"] = _listed(fold(c.vectors, {m: c.bias}, centre))
        else:
            folded[m] = c.bias
    columns["vector"] = _listed(fold(G, folded, centre))
    columns["id"] = pa.array([f"{i:03d}" for i in range(ROWS)])
    columns["number"] = pa.array(range(ROWS))
    return lancedb.connect(folder).create_table("g", pa.table(columns)), ways, fitted


def _listed(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", [None, "number >= 300"])
def test_one_input(tmp_path, method: str, where: str | None) -> None:
    table, ways, fitted = compile_to(tmp_path, {"text": method})
    admitted = np.arange(ROWS) >= (300 if where else 0)
    indices, scores = fitted["text"].rank(Q, 10, where=admitted)
    for q, expected, score in zip(Q, indices, scores, strict=True):
        found = corrected(table, [Weighted("text", q, 1.0)], ways, ["id", "number"], where, 10)
        assert found.complete
        assert found.rows["number"].to_pylist() == list(expected)
        np.testing.assert_allclose(found.rows["_score"], score, atol=1e-5)
        raw = G[found.rows["number"].to_numpy()] @ q
        np.testing.assert_allclose(found.rows["_raw_score"], raw, atol=1e-5)
        np.testing.assert_allclose(found.rows["_bias"], raw - score, atol=2e-5)


@pytest.mark.parametrize(
    ("text", "image"),
    [("nnn", "inverted_softmax"), ("invgc_local+nnn", "csls"), ("none", "local_scaling"),
     ("centered", "invgc"), ("dynamic_inverted_softmax", "nnn")],
)  # fmt: skip
def test_mixed_inputs_are_exact_over_columns(tmp_path, text: str, image: str) -> None:
    table, ways, fitted = compile_to(tmp_path, {"text": text, "image": image})
    weights = {"text": 0.7, "image": 0.3}
    for i in range(0, 24, 2):
        asked = {"text": Q[i], "image": Q[i + 1]}
        total = np.zeros(ROWS)
        for m, w in weights.items():
            c = fitted[m]
            raw = c.vectors @ asked[m]
            act = c.flag is None or c.flag[int(np.argmax(raw))]
            total += w * (raw - (c.bias if act else 0))
        inputs = [Weighted(m, asked[m], weights[m]) for m in asked]
        found = corrected(table, inputs, ways, ["number"], None, 8)
        assert found.complete
        assert found.rows["number"].to_pylist() == list(np.argsort(-total, kind="stable")[:8])
        np.testing.assert_allclose(
            found.rows["_score"], np.sort(total)[::-1][:8], rtol=1e-5, atol=1e-5
        )


def test_dynamic_corrections_differ_by_query(tmp_path) -> None:
    """Some queries are corrected and some are not, or the tests above prove nothing."""
    _, _, fitted = compile_to(tmp_path, {"text": "dynamic_inverted_softmax"})
    flag = fitted["text"].flag[np.argmax(Q @ G.T, axis=1)]
    assert 0 < flag.sum() < len(Q)


def test_weights_that_are_not_asked_for_correct_nothing() -> None:
    bias = {"text": np.arange(ROWS, dtype=np.float32)}
    rows = fold(G, bias, {"text": 0.0})
    assert rows.shape == (ROWS, schema.served_width(DIM))
    np.testing.assert_array_equal(unfold(rows, DIM), G)
    np.testing.assert_allclose(rows @ query_vector(Q[0], {}), G @ Q[0], atol=1e-6)
    np.testing.assert_allclose(
        rows @ query_vector(Q[0], {"text": 0.5}), G @ Q[0] - 0.5 * bias["text"], rtol=1e-5
    )
    np.testing.assert_allclose(rows @ query_vector(Q[0], {"image": 1.0}), G @ Q[0], atol=1e-6)
