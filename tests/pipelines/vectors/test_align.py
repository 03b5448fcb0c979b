"""Aligned towers: projections are learned from the corpus's pairs, recorded, and used by search."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import isotrope
from embedders.corpus_space import corpus_space
from embedders.encoder import unit_rows
from embedders.spaces import alignment_steps, open_space
from orchestration import jobs
from orchestration.cli.main import main
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.vectors.align import align_space
from pipelines.vectors.stage import embed
from store.errors import EncoderError, InputError, NotAlignedError
from store.tables.stages import BY_DROP
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import (
    COLOURS,
    CONFIG,
    DIM,
    ColourImage,
    ColourText,
    deliver,
    write_config,
)
from tests.helpers.stages import make_stale_stages

WIDTH = 24
ROTATION = np.random.default_rng(5).normal(size=(DIM, WIDTH)).astype(np.float32)


class TurnedImage(ColourImage):
    """`ColourImage` in another space; writes a dot per image to the file `log`."""

    name = "turned-image"
    dim = WIDTH
    fingerprint = "turned-image@1"

    def __init__(self, log: str):
        self.log = Path(log)

    def encode(self, batch: list[np.ndarray]) -> np.ndarray:
        with self.log.open("a", encoding="utf-8") as log:
            log.write("." * len(batch))
        return unit_rows(super().encode(batch) @ ROTATION)


class TurnedText(ColourText):
    """`ColourText` in another space, of fewer dimensions."""

    name = "turned-text"
    dim = WIDTH - 4
    fingerprint = "turned-text@1"

    def encode(self, batch: list[str]) -> np.ndarray:
        return unit_rows(super().encode(batch) @ ROTATION[:, 4:])


def config(log: Path, text: str = "python:tests.helpers.corpus:ColourText") -> str:
    encoder = f"python:tests.pipelines.vectors.test_align:TurnedImage?log={log}"
    image = f'{{encoder: "{encoder}", aligned_by: text}}'
    before, _, _ = CONFIG.partition("    image:")
    return f"{before}    image: {image}\n    text: {text}\n"


def share_found(corpus: isotrope.Corpus, count: int = 40) -> float:
    """The share of captions for which search returns their own image first."""
    hits = [
        corpus.search(text=f"a {name} square number {n}").among("image").limit(1).to_list()[0]
        for n in range(count)
        for name in [list(COLOURS)[n % len(COLOURS)]]
    ]
    return np.mean([hit["key"].endswith(f"{n:04d}") for n, hit in enumerate(hits)])


def encoded(log: Path) -> int:
    """How many images `TurnedImage` has encoded."""
    return len(log.read_text()) if log.exists() else 0


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("log") / "encoded"


@pytest.fixture(scope="module")
def aligned(tmp_path_factory, ray_cluster, log) -> Workspace:
    root = tmp_path_factory.mktemp("aligned")
    write_config(root, config(log))
    deliver(root / "drops" / "first", 400)
    result = CliRunner().invoke(main, ["align", "--corpus", str(root)])
    assert result.exit_code == 0, result.output
    assert "image->text" in result.output
    assert "used: the simplest within one error of the best" in " ".join(result.output.split())
    assert "twice the pairs would give about +" in result.output
    workspace = Workspace.open(root)
    make_stale_stages(workspace)
    return workspace


def test_the_error_of_an_unaligned_tower_names_the_command(tmp_path, log):
    write_config(tmp_path, config(log))
    deliver(tmp_path / "drops" / "first", 20)
    workspace = Workspace.open(tmp_path)
    (drop,) = staleness.drops(workspace).values()
    assert staleness.stale(workspace, drop) == list(BY_DROP)
    from pipelines.samples.stage import ingest
    from pipelines.signals.stage import measure

    ingest(StageContext(workspace, drop))
    measure(StageContext(workspace, drop.name))
    assert staleness.stale(workspace, drop) == ["vectors"]
    with pytest.raises(NotAlignedError, match="isotrope align"):
        embed(StageContext(workspace, drop.name))


def test_a_projection_brings_an_encoder_into_the_space(aligned, log):
    learned = aligned.tables.open("projections").to_table().to_pylist()
    assert [row["modality"] for row in learned] == ["image"]
    assert encoded(log) == 400
    vectors = aligned.tables.open("vectors__colours").to_table()
    assert vectors["vector"].type.list_size == DIM
    assert set(vectors["encoder"].to_pylist()) == {
        "colour-text@1",
        f"turned-image@1>{learned[0]['file'].rpartition('-')[2].partition('.')[0]}",
    }
    assert stage_record(aligned.tables, "vectors", "first")["failed"] == 0
    assert share_found(isotrope.connect(aligned.root)) > 0.9


def test_image_queries_go_through_the_projection(aligned):
    (query,) = (aligned.root / "drops" / "first").glob("blue-0012.png")
    hits = isotrope.connect(aligned.root).search(image=query).among("text").limit(3).to_list()
    assert "number 12" in hits[0]["caption"]


def test_another_projection_runs_no_model(aligned, log):
    before, release = encoded(log), isotrope.connect(aligned.root).release
    settings = aligned.config.spaces["colours"]["image"]
    settings["head"] = "mlp"
    try:
        (learned,) = align_space(aligned)
        assert learned.file not in str(release.space_config)
        assert staleness.stale(aligned, next(iter(staleness.drops(aligned).values()))) == [
            "vectors"
        ]
        make_stale_stages(aligned)
    finally:
        settings.pop("head")
    assert encoded(log) == before
    newest = isotrope.connect(aligned.root)
    assert newest.release.number == release.number + 1
    assert share_found(newest) > 0.9
    older = isotrope.connect(aligned.root, release=release.number)
    assert share_found(older) > 0.9  # the projection of the older release still exists


@pytest.mark.slow
def test_dagster_aligns_too(aligned):
    before = aligned.tables.open("projections").count_rows()
    assert jobs.align.execute_in_process(resources={"corpus": aligned}).success
    assert aligned.tables.open("projections").count_rows() == before + 1


@pytest.mark.slow
def test_two_towers_aligned_by_each_other(tmp_path, ray_cluster, log):
    text = '{encoder: "python:tests.pipelines.vectors.test_align:TurnedText", aligned_by: image}'
    write_config(
        tmp_path, config(log, text).replace("aligned_by: text}", "aligned_by: text, dim: 12}")
    )
    deliver(tmp_path / "drops" / "first", 400)
    result = CliRunner().invoke(main, ["align", "--corpus", str(tmp_path)])
    assert result.exit_code == 0, result.output
    workspace = Workspace.open(tmp_path)
    space = corpus_space(workspace)
    assert alignment_steps(space) == [("image", "text")]
    make_stale_stages(workspace)
    assert share_found(isotrope.connect(tmp_path)) > 0.5


@pytest.mark.parametrize(
    ("towers", "message"),
    [
        ({"image": {"encoder": "local:image", "aligned_by": "audio"}}, "aligned_by 'audio'"),
        ({"image": {"encoder": "local:image", "aligned_by": "image"}}, "aligned_by 'image'"),
        ({"image": {"encoder": "local:image"}}, "needs both encoder: and aligned_by:"),
        ({"image": {"encoder": "local:image", "aligned_by": "text", "size": 3}}, "key 'size'"),
        (
            {"image": {"encoder": "local:image", "aligned_by": "text", "method": ["ridge"]}},
            "method: .* allowed: auto, contrastive, ridge, cca",
        ),
    ],
)
def test_invalid_alignments_are_refused(towers, message):
    with pytest.raises(EncoderError, match=message):
        open_space("mine", {"text": "local:text", **towers})


def test_towers_are_learned_after_the_towers_they_are_aligned_by():
    def tower(*by: str) -> dict:
        return {"encoder": "python:tests.helpers.encoders:Hashing", "aligned_by": list(by)}

    chain = open_space("m", {"text": "local:text", "audio": tower("image"), "image": tower("text")})
    assert alignment_steps(chain) == [("image",), ("audio",)]
    both = {"image": tower("text"), "text": tower("image"), "audio": tower("image", "text")}
    assert alignment_steps(open_space("m", both)) == [("image", "text"), ("audio",)]
    circle = {"image": tower("text"), "text": tower("audio"), "audio": tower("image")}
    with pytest.raises(EncoderError, match="in a circle"):
        open_space("m", circle)


@pytest.mark.slow
def test_too_few_pairs_and_no_tower_to_align_are_errors(squares, tmp_path, ray_cluster, log):
    with pytest.raises(InputError, match="has no tower to align"):
        align_space(squares)
    with pytest.raises(InputError, match="method 'best'; allowed: auto, contrastive, ridge, cca"):
        align_space(squares, method="best")
    write_config(tmp_path, config(log))
    deliver(tmp_path / "drops" / "first", 20)
    result = CliRunner().invoke(main, ["align", "--corpus", str(tmp_path)])
    assert result.exit_code == 1
    assert "20 pairs of image with text are too few" in result.output


@pytest.mark.slow
def test_pairs_are_weighed_by_the_probability_that_they_match(aligned, log, tmp_path):
    root = tmp_path / "weighed"
    shutil.copytree(aligned.root, root)
    weighed = config(log).replace("aligned_by: text}", "aligned_by: text, mismatch: true}")
    (root / "corpus.yaml").write_text(weighed)
    before = encoded(log)
    result = CliRunner().invoke(main, ["align", "--corpus", str(root)])
    assert result.exit_code == 0, result.output
    assert "of 400 pairs are probably mismatched" in " ".join(result.output.split())
    assert encoded(log) == before  # the encoder's own vectors are kept
    *_, learned = Workspace.open(root).tables.open("projections").to_table().to_pylist()
    assert json.loads(learned["figures"])["mismatched_pairs"] < 40


def test_a_wrong_value_of_mismatch_is_refused(log):
    tower = {"encoder": "local:image", "aligned_by": "text", "mismatch": 3}
    with pytest.raises(EncoderError, match="mismatch: 3 must be true or false"):
        open_space("x", {"image": tower, "text": "local:text"})
