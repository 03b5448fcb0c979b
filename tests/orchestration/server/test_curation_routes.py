"""The curation as the server answers it: compared with the tables and with `isotrope whatif`."""

import sys
from importlib import import_module
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import yaml

import isotrope
from orchestration.server.keys import KeyFile
from orchestration.server.service import Service
from pipelines.policy.whatif import compare_policies
from store.config.server import Server
from store.errors import NotFoundError
from store.tables import schema
from store.workspace import Workspace
from tests.helpers.made_release import make_release
from tests.helpers.served import Served, served


def test_the_curation_is_that_of_the_tables(server: Served, stored: Workspace) -> None:
    answer = httpx.get(f"{server.url}/curation").json()
    decisions = stored.tables.scan("decisions", schema.DECISIONS, ["keep"])["keep"].to_pylist()
    assert answer["kept"] == sum(decisions)
    assert answer["rejected"] == len(decisions) - sum(decisions)
    assert yaml.safe_load(answer["policy"])["policy"] == stored.config.policy.written()
    first = answer["problems"][0]
    assert (first["outcome"], first["rule"], first["key"]) == ("failed", "image.broken", "broken")
    runs, stages = answer["runs"], stored.tables.scan("stages", schema.STAGES).to_pylist()
    assert len(runs) == min(len(stages), 40)
    assert [bool(run["failed"]) for run in runs] == sorted(
        (bool(run["failed"]) for run in runs), reverse=True
    )
    by_name = {(row["stage"], row["drop"]): row for row in stages}
    for run in runs:
        row = by_name[run["stage"], run["drop"] or "*"]
        assert [run[n] for n in ("input", "kept", "rejected", "failed")] == [
            row[n] for n in ("input", "kept", "rejected", "failed")
        ]
        assert run["published_at"] == row["published_at"].isoformat(timespec="seconds")
    signals = stored.tables.scan("signals", schema.SIGNALS)
    histograms = {each["name"]: each for each in answer["histograms"]}
    assert {"image_width", "text_chars"} <= set(histograms)
    for name, histogram in histograms.items():
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert sum(histogram["counts"]) == histogram["valid"] <= histogram["rows"]
        if name in signals.column_names:
            assert histogram["rows"] == signals.num_rows


def test_the_ends_of_a_signal_are_kept_samples(server: Served, stored: Workspace) -> None:
    histograms = httpx.get(f"{server.url}/curation").json()["histograms"]
    decisions = stored.tables.scan("decisions", schema.DECISIONS, ["id", "keep"]).to_pylist()
    kept = {row["id"] for row in decisions if row["keep"]}
    samples = stored.tables.scan("samples", schema.SAMPLES, ["id", "key", "image_id"]).to_pylist()
    facts = {row["id"]: (row["key"], row["image_id"]) for row in samples}
    names = ["id", *(each["name"] for each in histograms)]
    for table in ("signals", f"pairs__{stored.config.space}"):
        dataset = stored.tables.open(table)
        rows = dataset.to_table([n for n in names if n in dataset.schema.names]).to_pylist()
        for histogram in histograms:
            name = histogram["name"]
            if name not in rows[0]:
                continue
            values = sorted(r[name] for r in rows if r["id"] in kept and r[name] is not None)
            for end, expected in (("lowest", values), ("highest", values[::-1])):
                examples = histogram[end]
                if histogram["edges"][0] < histogram["edges"][-1] and examples:
                    assert [each["value"] for each in examples] == expected[: len(examples)]
                for each in examples:
                    assert each["id"] in kept
                    assert (each["key"], each["part_id"]) == facts[each["id"]]
    widths = next(each for each in histograms if each["name"] == "text_chars")
    assert len(widths["lowest"]) == len(widths["highest"]) == 4


def test_values_of_text_signals_are_counted(corpus_folder: Path) -> None:
    config = corpus_folder / "corpus.yaml"
    written = yaml.safe_load(config.read_text())
    written["policy"]["image_format"] = {"in": ["png"]}
    config.write_text(yaml.safe_dump(written))
    signals = Workspace.open(corpus_folder).tables.open("signals")
    signals.update({"image_format": "'gif'"}, where="text_chars > 21")
    with served(corpus_folder) as running:
        bars = httpx.get(f"{running.url}/curation").json()["bars"]
    formats = next(each for each in bars if each["name"] == "image_format")
    assert {each["value"]: each["rejected"] for each in formats["values"]} == {
        "png": False,
        "gif": True,
    }
    assert sum(each["samples"] for each in formats["values"]) == formats["valid"]
    assert formats["more"] == 0


def test_a_new_problem_and_a_new_policy_are_shown(corpus_folder: Path) -> None:
    tables = Workspace.open(corpus_folder).tables
    with served(corpus_folder) as running:
        before = httpx.get(f"{running.url}/curation").json()
        assert httpx.get(f"{running.url}/curation").json() == before
        problem = {"drop": "first", "stage": "vectors", "source": ".", "key": "late"}
        problem |= {"outcome": "failed", "rule": "encoder", "error": "out of memory"}
        ledger = pa.Table.from_pylist([problem], schema.LEDGER)
        tables.replace("ledger", schema.LEDGER, ledger.to_batches(), "false")
        keys = {p["key"] for p in httpx.get(f"{running.url}/curation").json()["problems"]}
        assert keys == {p["key"] for p in before["problems"]} | {"late"}
        config = corpus_folder / "corpus.yaml"
        config.write_text(config.read_text().replace("image_min_side", "image_width"))
        answer = httpx.get(f"{running.url}/curation").json()
        limits = {each["name"]: each["min"] for each in answer["histograms"]}
        assert limits["image_width"] == 16


def test_another_policy_is_that_of_the_command(server: Served, stored: Workspace) -> None:
    changes = ["text_chars.max=22", "image_width.min=1"]
    answer = httpx.get(f"{server.url}/whatif", params={"set": changes}).json()
    expected = compare_policies(stored, tuple(changes))
    assert (answer["before"], answer["after"]) == expected.kept
    assert answer["after"] < answer["before"]
    assert {(r["rule"], r["before"], r["after"]) for r in answer["rules"]} == {
        (rule, *counts) for rule, counts in expected.rejected.items()
    }
    written = yaml.safe_load(answer["policy"])["policy"]
    assert written["text_chars"]["max"] == 22
    unchanged = httpx.get(f"{server.url}/whatif").json()
    assert unchanged["before"] == unchanged["after"]


def test_a_limit_on_a_similarity_names_the_space(server: Served, stored: Workspace) -> None:
    changes = {"set": "text_image_cosine.min=1.5"}
    answer = httpx.get(f"{server.url}/whatif", params=changes).json()
    rule = yaml.safe_load(answer["policy"])["policy"]["text_image_cosine"]
    assert rule == {"min": 1.5, "made_for": [stored.config.space]}
    assert answer["after"] < answer["before"]


@pytest.mark.parametrize(
    "change",
    [
        "nonsense.min=1",
        "image_width.min=x",
        "image_width.min=1e",
        "image_width.keep_top=0.5",
        "concepts.names=/etc/passwd",
        "caps.drop=1",
        "text_language.min=1",
        "image_width",
        "image_width.min=1\nimage_width.max=2",
    ],
)
def test_only_limits_of_signals_can_be_changed(server: Served, change: str) -> None:
    answer = httpx.get(f"{server.url}/whatif", params={"set": change})
    assert answer.status_code == 422, answer.text
    assert "passwd" not in answer.text


def test_nothing_is_written(corpus_folder: Path) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in corpus_folder.rglob("*") if p.is_file()}

    with served(corpus_folder) as running:
        before = files()
        for path in ("/curation", "/whatif?set=image_width.min=30"):
            assert httpx.get(running.url + path).status_code == 200
        assert files() == before


def test_tables_without_a_configuration_have_no_policy(tmp_path: Path) -> None:
    make_release(tmp_path, 20)
    with served(tmp_path) as running:
        for path in ("/curation", "/whatif"):
            answer = httpx.get(running.url + path)
            assert answer.status_code == 404
            assert "corpus.yaml" in answer.json()["error"]["message"]
    service = Service(isotrope.open_corpus(tmp_path), Server(), KeyFile(tmp_path / "k"), False)
    with pytest.raises(NotFoundError):
        service.workspace()
    service.queue.close()


def test_a_server_without_the_pipelines_says_so(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for name in ("reports.curation.overview", "reports.outcomes", "engine.duckdb_scratch"):
        package, _, module = f"pipelines.{name}".rpartition(".")
        monkeypatch.delitem(sys.modules, f"{package}.{module}", raising=False)
        monkeypatch.delattr(import_module(package), module, raising=False)
    answer = httpx.get(f"{server.url}/curation")
    assert answer.status_code == 501
    assert "isotrope[pipelines]" in answer.json()["error"]["message"]


def test_they_need_a_key_but_no_release(corpus_folder: Path) -> None:
    secret = KeyFile(corpus_folder / "server-keys.json").create("reports")
    (corpus_folder / "tables" / "releases.lance").rename(corpus_folder / "moved")
    with served(corpus_folder) as running:
        for path in ("/curation", "/whatif"):
            assert httpx.get(running.url + path).status_code == 401
            headers = {"authorization": f"Bearer {secret}"}
            assert httpx.get(running.url + path, headers=headers).status_code == 200
