"""The command line, called with the words that a person types."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli.main import main
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, deliver, picture, write_config


def isotrope(*words: object, fails: bool = False) -> str:
    result = CliRunner().invoke(main, [str(w) for w in words])
    assert result.exit_code == (1 if fails else 0), result.output
    assert "Traceback" not in result.output
    return result.output


def test_help_lists_every_command_with_one_line() -> None:
    commands = isotrope("--help").partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in commands]
    assert names[:3] == ["init", "run", "status"]  # in the order of a corpus's life
    assert set(names) == {
        "align", "backup", "bridge", "check", "dagster", "demo", "dev", "drift", "drop", "estimate",
        "evaluate", "export", "init", "layers", "maintain", "mcp", "migrate", "open", "policy",
        "repair", "report", "restore", "run", "search", "serve", "status", "suggest", "takedown",
        "whatif", "why",
    }  # fmt: skip
    for line in commands:
        assert line.endswith("."), line
        assert not line.endswith("..."), line  # cut off: the first sentence is too long
    for name in names:
        assert isotrope(name, "--help").startswith(f"Usage: main {name}")


def test_no_command_imports_a_heavy_package_before_it_runs() -> None:
    code = (
        "import sys\nfrom orchestration.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'pyarrow', 'lance', 'lancedb', 'pydantic', 'ray', 'torch', 'dagster'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_init_counts_what_the_source_delivers(tmp_path: Path) -> None:
    deliver(tmp_path / "photos" / "monday", 3)
    deliver(tmp_path / "photos" / "tuesday", 4, first=10)
    output = isotrope("init", tmp_path / "corpus", "--from", tmp_path / "photos")
    assert "monday" in output
    assert "isotrope run" in output
    assert list(Workspace.open(tmp_path / "corpus").config.sources) == ["photos"]
    assert "already" in isotrope("init", tmp_path / "corpus", "--from", tmp_path, fails=True)


def test_init_takes_a_manifest_and_the_folder_beside_it_as_one_drop(tmp_path: Path) -> None:
    (tmp_path / "data" / "media").mkdir(parents=True)
    (tmp_path / "data" / "media" / "a.png").write_bytes(picture((1, 2, 3), 1))
    (tmp_path / "data" / "rows.jsonl").write_text('{"path": "media/a.png"}\n{"text": "b"}\n')
    output = isotrope("init", tmp_path / "corpus", "--from", tmp_path / "data")
    assert "drop_by: source" in (tmp_path / "corpus" / "corpus.yaml").read_text()
    assert re.search(r"data\W+2\b", output)


def test_init_takes_loose_files_as_one_drop(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    deliver(tmp_path / "photos" / "more", 2, first=5)
    isotrope("init", tmp_path / "corpus", "--from", tmp_path / "photos")
    assert Workspace.open(tmp_path / "corpus").config.sources["photos"].drop_by == "source"


def test_init_takes_a_preset(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    words = ("init", tmp_path / "corpus", "--from", tmp_path / "photos", "--preset")
    refused = isotrope(*words, "laion5b", fails=True)
    assert "was made for open_clip:ViT-B-32" in refused  # and the space is local
    isotrope(*words, "datacomp-basic")
    assert "text_words: {min: 3" in isotrope("policy", "--corpus", tmp_path / "corpus")


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_init_refuses_a_source_without_data(tmp_path: Path, kind: str) -> None:
    source = tmp_path / kind
    if kind == "empty":
        source.mkdir()
    output = isotrope("init", tmp_path / "corpus", "--from", source, fails=True)
    assert "error:" in output
    assert not (tmp_path / "corpus").exists()


def test_search(squares: Workspace, tmp_path: Path) -> None:
    corpus = ("--corpus", squares.root)
    answer = json.loads(
        isotrope("search", "a red square number 3", "--limit", 3, "--json", *corpus)
    )
    assert answer["complete"] is True
    assert len(answer["hits"]) == 3
    assert {"id", "modality", "_score", "rank", "key"} <= answer["hits"][0].keys()
    query = tmp_path / "q.png"
    query.write_bytes(picture(COLOURS["blue"], 12))
    assert "blue-0012" in isotrope("search", "--image", query, *corpus)
    both = ("search", "a red square number 3", "--image", query, "--weights", "0.9,0.1")
    mixed = json.loads(isotrope(*both, "--json", *corpus))["hits"]
    alone = json.loads(isotrope(*both[:4], "--json", *corpus))["hits"]
    assert len(mixed) == 10
    assert [h["_score"] for h in mixed] != [h["_score"] for h in alone]
    bad = isotrope("search", "x", "--correct", "magic", *corpus, fails=True)
    assert "allowed are auto" in bad
    assert "numbers with commas" in isotrope(*both[:-1], "a lot", *corpus, fails=True)


def test_suggestions(squares: Workspace) -> None:
    corpus = ("--corpus", squares.root)
    rows = json.loads(isotrope("suggest", "a square", "--count", 3, "--json", *corpus))
    assert 1 <= len(rows) <= 3
    assert {"text", "rows", "specificity", "gain"} <= rows[0].keys()
    assert all(row["gain"] > 0 for row in rows)
    assert rows[0]["text"] in isotrope("suggest", "a square", "--count", 3, *corpus)
    assert "one gallery" in isotrope("suggest", "x", "--among", "any", *corpus, fails=True)


def test_search_by_words_and_by_json(squares: Workspace, tmp_path: Path) -> None:
    options = ("--corpus", squares.root, "--json")
    rows = json.loads(isotrope("search", "a square", "--hybrid", "red 3", *options))["hits"]
    assert rows[0]["_text_score"] > 0
    file = tmp_path / "query.json"
    file.write_text(
        json.dumps(
            {
                "queries": [[{"text": "a red square number 3"}], [{"text": "a blue square"}]],
                "compound": {"all": [0, {"none": [1]}]},
                "route": "cross",
                "limit": 4,
            }
        )
    )
    answer = json.loads(isotrope("search", "--query", file, "--explain", 1, *options))
    assert len(answer["hits"]) == 4
    assert len(answer["explained"][0]["scores"]) == 2
    both = isotrope("search", "x", "--query", file, *options, fails=True)
    assert "leave out text" in both
    file.write_text('{"inputs": []}')
    assert "inputs" in isotrope("search", "--query", file, *options, fails=True)
    routed = json.loads(isotrope("search", "a red square", "--route", "cross", *options))
    assert routed["hits"]
    expanded = json.loads(
        isotrope("search", "a red square", "--expand", 2, "--alpha", 0.8, *options)
    )
    assert expanded["hits"][0]["_expanded"] > 0
    late = isotrope("search", "red", "--among", "text", "--late", 9, *options, fails=True)
    assert "release 1 has no token vectors of text" in late
    soft = ("--among", "sample", "--aggregate", "softmax", *options)
    assert json.loads(isotrope("search", "a red square", *soft))["hits"][0]["_aggregated"] > 0


def test_search_explains(squares: Workspace) -> None:
    words = ("search", "a red square number 5", "--corpus", squares.root, "--explain", 2)
    output = isotrope(*words)
    assert output.count("raw top tens of the bank's text queries") == 2
    explained = json.loads(isotrope(*words, "--json"))["explained"]
    assert [hit["rank"] for hit in explained] == [1, 2]
    assert explained[0]["parts"][0]["modality"] == "text"
    assert len(explained[0]["items"]) == 5


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
        measures = figures[direction]
        assert measures["protocol"] == "inductive"
        assert measures["queries"] > 50
        assert 0 <= measures["raw"]["r@1"] <= measures["raw"]["r@10"] <= 1
        assert sum(measures["k_occurrence"]["raw"]) == measures["gallery"]
        for side in ("raw", "corrected"):
            for name, interval in measures["intervals"][side].items():
                assert interval["low"] <= measures[side][name] <= interval["high"]
                assert interval["mean"] == pytest.approx(measures[side][name])
            pairs = measures["similarities"][side]
            assert sum(pairs["matching"]) == measures["queries"]
            assert pairs["auc"] > 0.7
        change = measures["corrected"]["mrr"] - measures["raw"]["mrr"]
        assert measures["gain"]["mean"] == pytest.approx(change)
        assert {row["method"] for row in measures["tried"]} > {"none"}


def test_evaluate_writes_plots(squares: Workspace, tmp_path: Path) -> None:
    isotrope("evaluate", "--pictures", tmp_path / "drawn", "--corpus", squares.root)
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    plots = ("k-occurrence", "methods", "similarities")
    assert names >= {f"text-image-{plot}.png" for plot in plots}


def test_evaluate_with_corrections_fitted_on_the_test_queries(squares: Workspace) -> None:
    shown = isotrope("evaluate", "--transductive", "--corpus", squares.root)
    assert "no direction is corrected" in shown  # the squares are better off raw


def test_why(squares: Workspace) -> None:
    corpus = ("--corpus", squares.root)
    assert "image.broken" in isotrope("why", "broken", *corpus)
    assert "passes" in isotrope("why", "red-0000", *corpus)
    assert "isotrope run" in isotrope("why", "nobody", *corpus, fails=True)


def test_whatif(squares: Workspace) -> None:
    corpus = ("--corpus", squares.root)
    output = isotrope("whatif", "--set", "image_min_side.min=25", *corpus)
    assert "image_min_side.min" in output
    assert "nothing was changed" in output
    output = isotrope("whatif", "--preset", "datacomp-basic", "--by", "text_language", *corpus)
    assert "kept, by text_language" in output
    assert "rejected by image_min_side.min" in output
    assert isotrope("policy", *corpus).startswith("image_min_side: {min: 16}\n")
    assert "is not a signal" in isotrope("whatif", "--set", "beauty.min=3", *corpus, fails=True)
    assert "signal.operator=value" in isotrope("whatif", "--set", "beauty", *corpus, fails=True)


def test_before_any_run(tmp_path: Path) -> None:
    assert "isotrope init" in isotrope("run", "--corpus", tmp_path, fails=True)
    write_config(tmp_path)
    assert "isotrope run" in isotrope("search", "x", "--corpus", tmp_path, fails=True)
    assert "isotrope run" in isotrope("evaluate", "--corpus", tmp_path, fails=True)
    assert "is not a folder" in isotrope("run", "--corpus", tmp_path, fails=True)


def test_the_error_names_an_unknown_key(tmp_path: Path) -> None:
    write_config(tmp_path, "sources:\n  a: {path: x}\ncolour: red\n")
    output = isotrope("run", "--corpus", tmp_path, fails=True)
    assert "corpus.yaml:3: colour: unknown key" in output


def test_takedown(tmp_path: Path, squares: Workspace) -> None:
    root = shutil.copytree(squares.root, tmp_path / "squares")
    corpus, key = ["--corpus", root], ["--key", "blue-0127"]
    assert "1 samples with 2 parts" in isotrope("takedown", *corpus, *key, "--dry-run")
    refused = CliRunner().invoke(main, ["takedown", *map(str, corpus), *key], input="n\n")
    assert refused.exit_code == 130
    output = isotrope("takedown", *corpus, *key, "--yes", "--reason", "a request")
    assert "reason: a request" in output
    assert "next: isotrope run" in output
    assert "no record has" in isotrope("takedown", *corpus, *key, "--yes", fails=True)
    assert "no takedown was interrupted" in isotrope("takedown", *corpus, "--resume", fails=True)
    assert "say what to take down" in isotrope("takedown", *corpus, fails=True)


@pytest.mark.parametrize("change", ["nothing", "the policy", "a drop"])
def test_status_says_what_is_out_of_date(squares_with_checksums: Workspace, change: str) -> None:
    root = squares_with_checksums.root
    if change == "the policy":
        text = (root / "corpus.yaml").read_text().replace("min: 16", "min: 17")
        (root / "corpus.yaml").write_text(text)
    elif change == "a drop":
        deliver(root / "drops" / "second", 1, first=900)
    found = json.loads(isotrope("status", "--json", "--corpus", root))
    stale = {stage["stage"]: list(stage["stale"]) for stage in found["stages"]}
    assert found["release"] == 1
    if change == "nothing":
        assert not any(stale.values())
    elif change == "the policy":
        assert stale["samples"] == []
        assert stale["decisions"] != []
    else:
        assert stale["samples"] == ["its input, its settings or its code changed"]
        assert stale["signals"] == ["samples will change"]
        assert stale["pairs"] == ["samples, signals, vectors of drops will change"]
    assert isotrope("status", "--corpus", root)
