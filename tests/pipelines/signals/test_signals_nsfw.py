"""The signal of nudity: NudeNet's model where it is installed, and models by path."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.samples.stage import ingest
from pipelines.signals.scorer import DecodedImage
from pipelines.signals.scorers import image_nsfw
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.stages.scorer_versions import scorer_versions
from store.errors import EncoderError, NotFoundError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers import detector
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.pipelines.signals.test_signals_image import scene

NUDE = {"BUTTOCKS_EXPOSED", "ANUS_EXPOSED"} | {
    f"{who}_EXPOSED" for who in ("FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_GENITALIA")
}


def test_the_nsfw_model_sees_what_its_package_shows_it() -> None:
    nudenet = pytest.importorskip("nudenet", reason="the extra nsfw-agpl is not installed")
    image = scene(3, (320, 200))
    bgr = np.ascontiguousarray(np.asarray(image)[..., ::-1])
    theirs, *_ = nudenet.nudenet._read_image(bgr)
    np.testing.assert_allclose(image_nsfw.network_input(image), theirs, atol=1e-6)
    score = image_nsfw.nsfw(None).score(DecodedImage(image, animated=False))["image_nsfw"]
    found = nudenet.NudeDetector().detect(bgr)
    exposed = [f["score"] for f in found if f["class"] in NUDE]
    assert exposed, "a scene is needed in which the model sees something"
    assert score == pytest.approx(max(exposed), abs=1e-4)


# By NudeNet's list of labels; the first four rows of the output are the box.
EXPOSED = [4 + label for label in (2, 3, 4, 6, 14)]


@pytest.mark.parametrize("size", [(320, 200), (200, 320), (640, 480), (20, 20)])
def test_the_nsfw_signal_is_the_highest_probability_of_an_exposed_part(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image, filters = scene(3, size), detector.weights()
    detector.save_detector(tmp_path / "nsfw.onnx", filters)
    scale = 320 / max(size)
    fitted = image.resize(
        (round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR
    )
    square = Image.new("RGB", (320, 320))
    square.paste(fitted, (0, 0))
    blue_green_red = np.asarray(square, np.float32).transpose(2, 0, 1)[None, ::-1] / 255
    np.testing.assert_allclose(image_nsfw.network_input(image), blue_green_red, atol=1e-6)
    expected = detector.answers(filters, blue_green_red)[EXPOSED].max()
    score = image_nsfw.nsfw(tmp_path / "nsfw.onnx").score(DecodedImage(image, animated=False))
    assert score["image_nsfw"] == pytest.approx(expected, abs=1e-5)


def test_an_nsfw_model_of_another_signature_is_refused(tmp_path: Path) -> None:
    detector.save_detector(tmp_path / "few.onnx", detector.weights()[:9])
    shown = DecodedImage(scene(3, (64, 64)), animated=False)
    with pytest.raises(EncoderError, match=r"returns the shape \(1, 9, 100\); expected \(1, 22,"):
        image_nsfw.nsfw(tmp_path / "few.onnx").score(shown)
    detector.save_detector(tmp_path / "small.onnx", detector.weights(), side=224)
    with pytest.raises(
        EncoderError, match=r"takes \[1, 3, 224, 224\]; expected \[1, 3, 320, 320\]"
    ):
        image_nsfw.nsfw(tmp_path / "small.onnx").score(shown)


def test_the_version_of_a_model_by_path_depends_on_its_content(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "models/nsfw.onnx")
    with pytest.raises(NotFoundError, match=r"signals\.nsfw: there is no file .*nsfw\.onnx"):
        scorer_versions(workspace)
    (tmp_path / "models").mkdir()
    versions = []
    for content in (b"one", b"another"):
        (tmp_path / "models" / "nsfw.onnx").write_bytes(content)
        versions.append(scorer_versions(workspace)["image_nsfw"])
    assert versions[0] != versions[1]
    assert all(version.startswith("1-") for version in versions)


def test_a_corpus_is_measured_by_the_model_in_its_folder(tmp_path: Path) -> None:
    workspace = corpus(tmp_path, "nsfw.onnx")
    detector.save_detector(tmp_path / "nsfw.onnx", detector.weights())
    measure(StageContext(workspace, "a"))
    rows = workspace.tables.scan("signals", schema.SIGNALS, ["image_nsfw"])
    assert rows.num_rows == 3
    assert rows["image_nsfw"].null_count == 0


def test_a_corpus_that_needs_nudenet_names_it_and_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nudenet", None)  # as if it were not installed
    image_nsfw._load.cache_clear()
    workspace = corpus(tmp_path, "true")
    with pytest.raises(EncoderError, match=r"pip install 'isotrope\[nsfw-agpl\]'.*AGPL-3\.0"):
        measure(StageContext(workspace, "a"))


def corpus(root: Path, nsfw: str) -> Workspace:
    """A corpus of three pictures, read and not measured; `nsfw` is corpus.yaml's setting."""
    write_config(root, CONFIG + f"signals: {{nsfw: {nsfw}}}\n")
    deliver(root / "drops" / "a", 3)
    workspace = Workspace.open(root)
    ingest(StageContext(workspace, staleness.drops(workspace)["a"]))
    return workspace
