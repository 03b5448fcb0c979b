"""The command line, as a person types it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, begin, deliver, picture


def isotrope(*words: object, fails: bool = False) -> str:
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == (1 if fails else 0), result.output
    assert "Traceback" not in result.output
    return result.output


def test_init_looks_at_the_source(tmp_path: Path) -> None:
    deliver(tmp_path / "photos" / "monday", 3)
    deliver(tmp_path / "photos" / "tuesday", 4, first=10)
    said = isotrope("init", tmp_path / "corpus", "--from", tmp_path / "photos")
    assert "monday" in said
    assert "isotrope run" in said
    assert list(Workspace.open(tmp_path / "corpus").config.sources) == ["photos"]
    assert "already" in isotrope("init", tmp_path / "corpus", "--from", tmp_path, fails=True)


def test_init_takes_a_manifest_and_the_folder_beside_it_as_one_drop(tmp_path: Path) -> None:
    (tmp_path / "data" / "media").mkdir(parents=True)
    (tmp_path / "data" / "media" / "a.png").write_bytes(picture((1, 2, 3), 1))
    (tmp_path / "data" / "rows.jsonl").write_text('{"path": "media/a.png"}\n{"text": "b"}\n')
    said = isotrope("init", tmp_path / "corpus", "--from", tmp_path / "data")
    assert "drop_by: source" in (tmp_path / "corpus" / "corpus.yaml").read_text()
    assert re.search(r"data\W+2\b", said)


def test_init_takes_loose_files_as_one_drop(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    deliver(tmp_path / "photos" / "more", 2, first=5)
    isotrope("init", tmp_path / "corpus", "--from", tmp_path / "photos")
    assert Workspace.open(tmp_path / "corpus").config.sources["photos"].drop_by == "source"


def test_init_begins_with_a_preset(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    said = ("init", tmp_path / "corpus", "--from", tmp_path / "photos", "--preset")
    refused = isotrope(*said, "laion5b", fails=True)
    assert "was made for open_clip:ViT-B-32" in refused  # and the space is local
    isotrope(*said, "datacomp-basic")
    assert "text_words: {min: 3" in isotrope("policy", "--corpus", tmp_path / "corpus")


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_init_refuses_a_source_with_nothing(tmp_path: Path, what: str) -> None:
    source = tmp_path / what
    if what == "empty":
        source.mkdir()
    said = isotrope("init", tmp_path / "corpus", "--from", source, fails=True)
    assert "error:" in said
    assert not (tmp_path / "corpus").exists()


def test_search(squares: Workspace, tmp_path: Path) -> None:
    here = ("--corpus", squares.root)
    answer = json.loads(isotrope("search", "a red square number 3", "--limit", 3, "--json", *here))
    assert answer["complete"] is True
    assert len(answer["hits"]) == 3
    assert {"id", "modality", "_score", "rank", "key"} <= answer["hits"][0].keys()
    query = tmp_path / "q.png"
    query.write_bytes(picture(COLOURS["blue"], 12))
    assert "blue-0012" in isotrope("search", "--image", query, *here)
    both = ("search", "a red square number 3", "--image", query, "--weights", "0.9,0.1")
    mixed = json.loads(isotrope(*both, "--json", *here))["hits"]
    alone = json.loads(isotrope(*both[:4], "--json", *here))["hits"]
    assert len(mixed) == 10
    assert [h["_score"] for h in mixed] != [h["_score"] for h in alone]
    bad = isotrope("search", "x", "--correct", "magic", *here, fails=True)
    assert "allowed are auto" in bad
    assert "numbers with commas" in isotrope(*both[:-1], "a lot", *here, fails=True)


def test_search_explains(squares: Workspace) -> None:
    words = ("search", "a red square number 5", "--corpus", squares.root, "--explain", 2)
    said = isotrope(*words)
    assert said.count("raw top tens of the bank's text queries") == 2
    told = json.loads(isotrope(*words, "--json"))["explained"]
    assert [found["rank"] for found in told] == [1, 2]
    assert told[0]["parts"][0]["modality"] == "text"
    assert len(told[0]["items"]) == 5


def test_evaluate(squares: Workspace) -> None:
    shown = isotrope("evaluate", "--corpus", squares.root)
    assert "text->image" in shown
    for word in (
        "inductive",
        "nDCG@10",
        "Robin Hood",
        "anti-hubs",
        "modality gap",
        "AUC",
        "rank var",
    ):
        assert word in shown
    figures = json.loads(isotrope("evaluate", "--json", "--corpus", squares.root))
    for direction in ("text->image", "image->text"):
        found = figures[direction]
        assert found["protocol"] == "inductive"
        assert found["queries"] > 50
        assert 0 <= found["raw"]["r@1"] <= found["raw"]["r@10"] <= 1
        assert sum(found["k_occurrence"]["raw"]) == found["gallery"]
        for side in ("raw", "corrected"):
            for name, interval in found["intervals"][side].items():
                assert interval["low"] <= found[side][name] <= interval["high"]
                assert interval["mean"] == pytest.approx(found[side][name])
            pairs = found["similarities"][side]
            assert sum(pairs["matching"]) == found["queries"]
            assert pairs["auc"] > 0.7
        change = found["corrected"]["mrr"] - found["raw"]["mrr"]
        assert found["gain"]["mean"] == pytest.approx(change)
        assert {row["method"] for row in found["tried"]} > {"none"}


def test_evaluate_draws(squares: Workspace, tmp_path: Path) -> None:
    isotrope("evaluate", "--pictures", tmp_path / "drawn", "--corpus", squares.root)
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    whats = ("k-occurrence", "methods", "similarities")
    assert names >= {f"text-image-{what}.png" for what in whats}


def test_evaluate_as_if_the_test_queries_had_been_known(squares: Workspace) -> None:
    shown = isotrope("evaluate", "--transductive", "--corpus", squares.root)
    assert "no direction is corrected" in shown  # the squares are better off raw


def test_why(squares: Workspace) -> None:
    here = ("--corpus", squares.root)
    assert "image.broken" in isotrope("why", "broken", *here)
    assert "passes" in isotrope("why", "red-0000", *here)
    assert "isotrope run" in isotrope("why", "nobody", *here, fails=True)


def test_whatif(squares: Workspace) -> None:
    here = ("--corpus", squares.root)
    said = isotrope("whatif", "--set", "image_min_side.min=25", *here)
    assert "image_min_side.min" in said
    assert "nothing was changed" in said
    said = isotrope("whatif", "--preset", "datacomp-basic", "--by", "text_language", *here)
    assert "kept, by text_language" in said
    assert "rejected by image_min_side.min" in said
    assert isotrope("policy", *here) == "image_min_side: {min: 16}\n"
    assert "is not a signal" in isotrope("whatif", "--set", "beauty.min=3", *here, fails=True)
    assert "signal.operator=value" in isotrope("whatif", "--set", "beauty", *here, fails=True)


def test_before_any_run(tmp_path: Path) -> None:
    assert "isotrope init" in isotrope("run", "--corpus", tmp_path, fails=True)
    begin(tmp_path)
    assert "isotrope run" in isotrope("search", "x", "--corpus", tmp_path, fails=True)
    assert "isotrope run" in isotrope("evaluate", "--corpus", tmp_path, fails=True)
    assert "is not a folder" in isotrope("run", "--corpus", tmp_path, fails=True)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    begin(tmp_path, "sources:\n  a: {path: x}\ncolour: red\n")
    said = isotrope("run", "--corpus", tmp_path, fails=True)
    assert "corpus.yaml:3: colour: unknown key" in said
