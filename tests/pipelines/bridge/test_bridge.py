"""Bridges on the corpus of squares: a newer model searches what the older one embedded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from pipelines.bridge.learn import learn_bridges
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from store.errors import ConfigError, EncoderError, InputError, NotAlignedError, NotFoundError
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG as COLOURS
from tests.helpers.corpus import deliver, write_config
from tests.helpers.served import served
from tests.helpers.stages import make_stale_stages
from tests.helpers.turned import QUERY_SPACE

CONFIG = "corrections: {methods: [nnn]}\n" + COLOURS  # few methods, so that tests are quick
BRIDGED = CONFIG + "    queries: turned\n" + QUERY_SPACE
COUNT = 300


@pytest.fixture(scope="module")
def released(tmp_path_factory, ray_cluster) -> Path:
    """A corpus with a release, and a newer space that is declared only."""
    root = tmp_path_factory.mktemp("released")
    write_config(root, CONFIG + QUERY_SPACE)
    deliver(root / "drops" / "first", COUNT)
    make_stale_stages(Workspace.open(root))
    return root


@pytest.fixture(scope="module")
def bridged(tmp_path_factory, released, ray_cluster) -> Path:
    """The same corpus with a bridge, and a release whose queries go through it."""
    root = tmp_path_factory.mktemp("bridged") / "corpus"
    shutil.copytree(released, root)
    learn_bridges(Workspace.open(root), "colours", "turned")
    write_config(root, BRIDGED)
    make_stale_stages(Workspace.open(root))
    return root


def test_the_command_reports_what_is_retained(released):
    command = ["bridge", "colours", "turned", "--json", "--corpus", str(released)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["bridges"]["text"]["map"].startswith("texts, ")
    assert set(report["directions"]) == {"text->image", "image->text"}
    for figures in report["directions"].values():
        share = figures["retained"]["old"]["corrected r@10"]
        assert share["low"] <= share["mean"] <= share["high"]
        assert share["mean"] > 0.9
        assert "new" not in figures
    assert not any(report["missing"].values())


def test_queries_of_the_newer_model_search_the_released_space(bridged):
    corpus = isotrope.connect(bridged)
    older = corpus.at(1)
    assert corpus.release.fingerprints == older.release.fingerprints
    assert corpus.release.query_fingerprints["text"].startswith("turned-text@1>")
    right = []
    for n in range(0, COUNT, 5):
        (hit,) = corpus.search(text=f"a red square number {n}").among("image").limit(1).to_list()
        right.append(hit["key"].endswith(f"{n:04d}"))
    assert np.mean(right) > 0.9
    (query,) = (bridged / "drops" / "first").glob("blue-0012.png")
    (hit,) = corpus.search(image=query).among("text").limit(1).to_list()
    assert "number 12" in hit["caption"]
    assert (
        older.encode({"text": ["a"]})["text"].shape == corpus.encode({"text": ["a"]})["text"].shape
    )


def test_server_and_command_line_answer_as_the_client_does(bridged):
    text = "a green square number 16"

    def keys(corpus: isotrope.Corpus) -> list[str]:
        return [row["key"] for row in corpus.search(text=text).among("image").limit(5).to_list()]

    expected = keys(isotrope.connect(bridged))
    with served(bridged) as server:
        assert keys(isotrope.connect(server.url)) == expected
    command = ["search", text, "--among", "image", "--limit", "5", "--json"]
    result = CliRunner().invoke(main, [*command, "--corpus", str(bridged)])
    assert [row["key"] for row in json.loads(result.stdout)["hits"]] == expected


def test_no_item_is_embedded_and_corrections_are_fitted_to_bridged_queries(bridged):
    corpus = isotrope.connect(bridged)
    vectors = corpus.tables.open("vectors__colours")
    assert set(vectors.to_table(["encoder"])["encoder"].to_pylist()) == {
        "colour-image@1",
        "colour-text@1",
    }
    for modality in ("text", "image"):
        encoder = corpus.release.query_fingerprints[modality]
        assert corpus.release.banks[modality]["fingerprint"] == encoder
        asked = corpus.banks.select(["encoder"], split="test_queries", modality=modality)
        assert set(asked["encoder"].to_pylist()) == {encoder}
        items, queries = corpus.banks.items(modality), corpus.banks.queries(modality)
        assert items.parts.tolist() == queries.parts.tolist()
        assert not np.allclose(items.vectors, queries.vectors)
    assert corpus.release.evaluation["text->image"]["queries"] > 20


def test_a_bridged_corpus_is_up_to_date_and_encodes_bank_parts_once(bridged, monkeypatch, tmp_path):
    workspace = Workspace.open(bridged)
    assert staleness.stale(workspace, None) == []
    monkeypatch.setenv("TURNED_LOG", str(tmp_path / "log"))
    again = learn_bridges(workspace, "colours", "turned")
    assert not (tmp_path / "log").exists()
    assert again.learned[0].file in str(isotrope.connect(bridged).release.space_config)
    assert staleness.stale(workspace, None) == []


def test_the_report_of_a_bridged_release_still_measures_the_old_encoders(bridged, released):
    first, again = (
        learn_bridges(Workspace.open(root), "colours", "turned").directions["text->image"]["old"]
        for root in (released, bridged)
    )
    assert first == again


@pytest.mark.slow
def test_a_stored_newer_space_is_the_reference(tmp_path, released):
    root = tmp_path / "corpus"
    shutil.copytree(released, root)
    spaces = QUERY_SPACE.partition("\n")[2]
    write_config(root, CONFIG + spaces)
    workspace = Workspace.open(root)
    make_stale_stages(workspace)
    make_stale_stages(workspace.of_space("turned"))
    report = learn_bridges(workspace, "colours", "turned")
    figures = report.directions["text->image"]
    assert figures["new"]["corrected r@1"]["mean"] > 0.8
    assert 0.8 < figures["retained"]["new"]["corrected r@1"]["mean"] < 1.2


@pytest.mark.slow
def test_further_texts_are_learned_from(tmp_path, released):
    root = tmp_path / "corpus"
    shutil.copytree(released, root)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"a grey square number {n}" for n in range(5000, 5400)))
    command = ["bridge", "colours", "turned", "--texts", str(texts), "--corpus", str(root)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "queries: turned" in result.output
    before = learn_bridges(Workspace.open(released), "colours", "turned").bridges["text"].parts
    assert f"{before + 400} rows" in result.output.replace(",", "")


@pytest.mark.slow
def test_a_part_that_the_newer_encoder_cannot_encode_costs_no_other(tmp_path, ray_cluster):
    write_config(tmp_path, CONFIG + QUERY_SPACE)
    deliver(tmp_path / "drops" / "first", 200)
    for path in sorted((tmp_path / "drops" / "first").glob("*.txt"))[:20]:
        path.write_text(path.read_text().replace("a ", "a hollow ", 1))
    make_stale_stages(Workspace.open(tmp_path))
    report = learn_bridges(Workspace.open(tmp_path), "colours", "turned")
    assert report.missing == {"image": 0, "text": 20}
    write_config(tmp_path, BRIDGED)
    workspace = Workspace.open(tmp_path)
    make_stale_stages(workspace)
    ledger = workspace.tables.open("ledger").to_table(filter="stage = 'banks'").to_pylist()
    assert len(ledger) == 20
    assert {(row["source"], row["rule"]) for row in ledger} == {("bridge", "encoder.nan")}


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("colours", "missing", NotFoundError, "only colours, turned"),
        ("missing", "turned", NotFoundError, "no space 'missing'"),
        ("colours", "colours", InputError, "not from itself"),
    ],
)
def test_spaces_that_are_not_there_are_refused(released, old, new, error, message):
    with pytest.raises(error, match=message):
        learn_bridges(Workspace.open(released), old, new)


def test_encoders_that_give_nothing_are_refused(tmp_path, released):
    root = tmp_path / "corpus"
    shutil.copytree(released, root)
    write_config(root, (CONFIG + QUERY_SPACE).replace("TurnedText", "HollowText"))
    with pytest.raises(InputError, match="0 parts that both encoders encode are too few"):
        learn_bridges(Workspace.open(root), "colours", "turned")
    only_images = "\n".join(line for line in QUERY_SPACE.splitlines() if "text:" not in line)
    write_config(root, CONFIG + only_images)
    with pytest.raises(InputError, match="both need a tower of text"):
        learn_bridges(Workspace.open(root), "colours", "turned")
    write_config(root, (CONFIG + QUERY_SPACE).replace("corpus:ColourText", "corpus:NewerText"))
    with pytest.raises(EncoderError, match="name its encoder again"):
        learn_bridges(Workspace.open(root), "colours", "turned")


def test_a_small_corpus_and_one_without_a_release_are_refused(tmp_path, ray_cluster):
    write_config(tmp_path, CONFIG + QUERY_SPACE)
    deliver(tmp_path / "drops" / "first", 30)
    with pytest.raises(NotFoundError, match="isotrope run"):
        learn_bridges(Workspace.open(tmp_path), "colours", "turned")
    make_stale_stages(Workspace.open(tmp_path))
    with pytest.raises(InputError, match="too few to learn a bridge from: at least 50"):
        learn_bridges(Workspace.open(tmp_path), "colours", "turned")


def test_queries_without_a_bridge_name_the_command(tmp_path, released):
    root = tmp_path / "corpus"
    shutil.copytree(released, root)
    shutil.rmtree(root / "tables" / "projections.lance", ignore_errors=True)
    write_config(root, BRIDGED)
    context = StageContext(Workspace.open(root))
    with pytest.raises(NotAlignedError, match="isotrope bridge OLD NEW"):
        _ = context.query_fingerprints


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BRIDGED.replace("queries: turned", "queries: other"), "'other' is no other space"),
        (BRIDGED.replace("queries: turned", "queries: colours"), "'colours' is no other space"),
        (BRIDGED.replace("queries: turned", "queries: {video: turned}"), "no modality 'video'"),
        (BRIDGED.replace("queries: turned", "queries: [turned]"), "is no other space"),
        (BRIDGED.replace("  turned:", "  colours:"), "both in spaces and in query_spaces"),
    ],
)
def test_configurations_that_name_no_other_space_are_refused(tmp_path, text, message):
    write_config(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        Workspace.open(tmp_path)
