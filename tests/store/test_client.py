"""Search through the client returns the same rows as brute force, and helpful errors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import isotrope
from isotrope import errors
from store.arrow import as_matrix
from store.search.vector_layout import unfold
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, DIM, ColourImage, ColourText, picture, write_config


@pytest.fixture(scope="module")
def corpus(squares: Workspace) -> isotrope.Corpus:
    return isotrope.connect(squares.root)


def brute_force(corpus: isotrope.Corpus, text: str, gallery: str, corrected: bool) -> list[str]:
    rows = corpus.gallery(gallery).to_arrow()
    query = ColourText().encode([text])[0]
    score = unfold(as_matrix(rows["vector"]), DIM) @ query
    if corrected:
        score = score - rows["bias_text"].to_numpy()
    return rows.take(np.argsort(-score, kind="stable")[:10])["id"].to_pylist()


@pytest.mark.parametrize("gallery", ["image", "text"])
@pytest.mark.parametrize("method", ["auto", "none"])
def test_search_is_exact(corpus: isotrope.Corpus, gallery: str, method: str) -> None:
    for number in (3, 77, 401):
        text = f"a red square number {number}"
        result = corpus.search(text=text).among(gallery).correct(method).run()
        assert result.complete
        assert result.rows["id"].to_pylist() == brute_force(corpus, text, gallery, method == "auto")


def test_columns_and_order(corpus: isotrope.Corpus) -> None:
    rows = corpus.search(text="a blue square number 12").limit(7).to_arrow()
    assert rows.column_names == [
        "id", "modality", "_score", "_raw_score", "_bias", "rank", "key", "caption",
    ]  # fmt: skip
    assert rows["rank"].to_pylist() == list(range(1, 8))
    raw, bias, score = (rows[c].to_numpy() for c in ("_raw_score", "_bias", "_score"))
    assert (np.diff(score) <= 0).all()
    np.testing.assert_allclose(raw - bias, score, atol=1e-6)
    assert rows["key"][0].as_py() == "blue-0012"


@pytest.mark.slow
def test_pandas_is_optional(corpus: isotrope.Corpus, squares: Workspace, tmp_path: Path) -> None:
    hits = corpus.search(text="a blue square number 12").limit(7)
    with pytest.raises(errors.MissingPackageError, match=r"isotrope\[pandas\]"):
        hits.to_pandas()
    installer = Path(sys.executable).with_name("uv")
    installed = [installer, "pip", "install", "--quiet", "--target", tmp_path, "pandas"]
    subprocess.run(installed, check=True)
    code = (
        "import sys, isotrope; frame = isotrope.connect(sys.argv[1]).search("
        "text='a blue square number 12').limit(7).to_pandas(); print(list(frame['key']))"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-c", code, squares.root],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == str([row["key"] for row in hits.to_list()])


def test_an_image_finds_itself_and_its_caption(corpus: isotrope.Corpus, tmp_path) -> None:
    path = tmp_path / "query.png"
    path.write_bytes(picture(COLOURS["green"], 26))
    assert corpus.search(image=path).among("image").to_list()[0]["key"] == "green-0026"
    captions = corpus.search(image=path.read_bytes()).among("text").limit(5).to_list()
    assert "a green square number 26" in [row["caption"] for row in captions]


def test_where_filters_before_the_search(corpus: isotrope.Corpus) -> None:
    query = corpus.search(text="a red square number 3").where("key LIKE 'grey-%'").limit(20)
    keys = [row["key"] for row in query.to_list()]
    assert len(keys) == 20
    assert all(key.startswith("grey-") for key in keys)
    assert corpus.search(text="x").where("image_width > 1000").to_list() == []


def test_weights_mix_the_inputs(corpus: isotrope.Corpus) -> None:
    red, blue = picture(COLOURS["red"], 5), "a blue square number 12"
    only_text = corpus.search(text=blue, image=red, weights=[1, 0]).to_list()
    assert [r["id"] for r in only_text] == [r["id"] for r in corpus.search(text=blue).to_list()]
    mixed = corpus.search(text=blue, image=red, weights=[0.6, 0.4]).correct("none").to_list()
    rows = corpus.gallery("image").to_arrow()
    query = 0.6 * ColourText().encode([blue])[0] + 0.4 * _image_vector(red)
    score = unfold(as_matrix(rows["vector"]), DIM) @ query
    best = rows.take(np.argsort(-score, kind="stable")[:10])["id"].to_pylist()
    assert [r["id"] for r in mixed] == best


def _image_vector(data: bytes) -> np.ndarray:
    encoder = ColourImage()
    return encoder.encode([encoder.prepare(data)])[0]


def test_any_searches_all_modalities(corpus: isotrope.Corpus) -> None:
    rows = corpus.search(text="a yellow square number 8").among("any").limit(20).to_list()
    assert {row["modality"] for row in rows} == {"image", "text"}
    assert [row["rank"] for row in rows] == list(range(1, 21))
    assert (np.diff([row["_calibrated"] for row in rows]) <= 0).all()


@pytest.mark.parametrize("method", ["nnn", "csls", "inverted_softmax", "invgc_local", "centered"])
def test_a_requested_method_rescores(corpus: isotrope.Corpus, method: str) -> None:
    result = corpus.search(text="a red square number 3").correct(method).limit(5).run()
    assert result.rows.num_rows == 5
    compiled = corpus.release.directions["text->image"].method
    assert result.complete == (method == compiled) or len(result.notes) == 1


def test_search_by_vectors(corpus: isotrope.Corpus) -> None:
    vector = 3 * ColourText().encode(["a red square number 3"])[0]
    rows = corpus.search(vectors={"text": vector}).to_list()
    assert [r["id"] for r in rows] == [
        r["id"] for r in corpus.search(text="a red square number 3").to_list()
    ]


def test_errors_say_what_is_allowed(corpus: isotrope.Corpus, tmp_path) -> None:
    query = corpus.search(text="x")
    cases = [
        (lambda: corpus.search(), "text="),
        (lambda: corpus.search(text="x", weights=[1, 2]), "one non-negative number"),
        (lambda: query.among("video"), "image, text, audio, any"),
        (lambda: query.among("audio").run(), "has no audio gallery"),
        (lambda: query.correct("magic"), "auto, none"),
        (lambda: query.limit(0), "whole number"),
        (lambda: query.where("nonsense >").run(), "columns:"),
        (lambda: query.where("no_such_column = 1").run(), "columns:"),
        (lambda: query.select("no_such_column").run(), "columns:"),
        (lambda: corpus.search(image=str(tmp_path / "none.png")).run(), "no such file"),
        (lambda: corpus.search(image=b"not a picture").run(), "cannot be used"),
        (lambda: corpus.search(text=3).run(), "takes a string"),
        (lambda: corpus.search(vectors={"text": [1.0, 2.0]}).run(), "shape"),
        (lambda: corpus.search(vectors={"text": [float("nan")] * 16}).run(), "finite"),
        (lambda: corpus.search(vectors={"smell": [1.0]}), "not a modality"),
    ]
    for call, expected in cases:
        with pytest.raises(errors.IsotropeError, match=expected):
            call()


def test_before_any_release(tmp_path) -> None:
    write_config(tmp_path)
    with pytest.raises(errors.NotFoundError, match="isotrope run"):
        isotrope.connect(tmp_path).search(text="x").to_list()
    with pytest.raises(errors.NotFoundError, match="isotrope init"):
        isotrope.connect(tmp_path / "nowhere")


def test_an_encoder_other_than_the_release_s_is_refused(
    corpus: isotrope.Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(corpus.release.fingerprints, "text", "colour-text@0")
    with pytest.raises(errors.EncoderError, match="colour-text@0"):
        corpus.search(text="a red square number 3").run()
