"""Banks: drawn from captions, from a file of queries, from the query log; never from test pairs."""

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.banks.stage import draw_banks
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from store import identity
from store.config import corrections as config
from store.errors import ConfigError, EncoderError, InputError, NotFoundError
from store.search import query_log
from store.search.query_log import QueryLog
from store.tables import schema
from store.tables.banks import Banks, check_encoders, describe
from store.tables.staging import record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, DIM, ColourText, begin, picture

FINGERPRINTS = {"text": "colour-text@1", "image": "colour-image@1"}


@pytest.fixture
def copied(squares: Workspace, tmp_path: Path) -> Path:
    """The squares' tables in a folder that may be changed."""
    shutil.copytree(squares.root / "tables", tmp_path / "tables")
    shutil.copytree(squares.root / "drops", tmp_path / "drops")
    return tmp_path


def configured(root: Path, corrections: str, more: str = "") -> Workspace:
    begin(root, f"{CONFIG}corrections: {{{corrections}}}\n{more}")
    return Workspace.open(root)


def drawn(workspace: Workspace) -> Banks:
    draw_banks(StageContext(workspace, forced=True))
    return Banks(workspace.tables.open("banks__colours").to_table())


def captions(banks: Banks, split: str) -> list[str]:
    """Texts of a split's samples: squares that were delivered as `a red square number 0`."""
    wanted = set(banks.part(split, "text")[2])
    names = ("red", "green", "blue", "yellow", "grey")
    every = [f"a {names[n % 5]} square number {n}" for n in range(600)]
    return [text for text in every if identity.part_id("text", text.encode()) in wanted]


def ledger(workspace: Workspace) -> list[dict]:
    return workspace.tables.scan("ledger", schema.LEDGER, where="stage = 'banks'").to_pylist()


def conserved(workspace: Workspace) -> dict:
    row = record(workspace.tables, "banks")
    assert row is not None
    assert row["input"] == row["kept"] + row["rejected"] + row["failed"]
    return row


def test_a_file_of_texts(copied: Path, squares: Workspace) -> None:
    before = Banks(squares.tables.open("banks__colours").to_table())
    own, tested, validated = (captions(before, s)[0] for s in ("bank", "test", "validation"))
    good = [f"a violet thing {n}" for n in range(100)]
    lines = [text.encode() for text in (*good, own, good[0], tested, validated)]
    lines += [b"\xff broken", b"  ", b"x" * 2000, b"ends like on Windows\r"]
    (copied / "asked.txt").write_bytes(b"\n".join(lines) + b"\n")
    workspace = configured(
        copied, "query_bank: file, queries: asked.txt", "limits: {text_bytes: 1000}\n"
    )
    banks = drawn(workspace)

    vectors, clusters, parts = banks.queries("text")
    known = dict(zip(parts, clusters, strict=True))
    assert len(parts) == 102
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    row = list(parts).index(identity.part_id("text", good[7].encode()))
    np.testing.assert_allclose(vectors[row], ColourText().encode([good[7]])[0], atol=1e-6)
    _, bank_clusters, bank_parts = banks.part("bank", "text")
    caption = identity.part_id("text", own.encode())
    assert known.pop(caption) == dict(zip(bank_parts, bank_clusters, strict=True))[caption]
    assert not set(known.values()) & set(banks.table["cluster"].to_pylist()).difference(known)
    # The modality that the file has no queries of, and the gallery's side, are the corpus's.
    np.testing.assert_array_equal(banks.queries("image")[2], before.part("bank", "image")[2])
    np.testing.assert_array_equal(banks.part("bank", "text")[2], before.part("bank", "text")[2])

    lost = {(e["key"], e["rule"]) for e in ledger(workspace)}
    assert lost == {
        ("1 text queries", "bank.repeated"),
        ("asked.txt:103", "bank.held_out"),
        ("asked.txt:104", "bank.held_out"),
        ("asked.txt:105", "text.encoding"),
        ("asked.txt:106", "text.empty"),
        ("asked.txt:107", "text.bytes"),
    }
    samples = record(workspace.tables, "decisions")
    assert samples is not None
    assert conserved(workspace)["input"] == samples["kept"] + 108
    assert conserved(workspace)["failed"] == 2


def test_what_a_release_says_of_its_banks(copied: Path) -> None:
    (copied / "asked.txt").write_text("\n".join(f"thing {n}" for n in range(20)))
    workspace = configured(copied, "query_bank: [corpus, file], queries: asked.txt")
    banks = drawn(workspace)
    table = workspace.tables.open("banks__colours")
    said = json.loads(json.dumps(describe(table)))
    assert said["version"] == table.version
    assert said["text"]["origin"] == "corpus + file:asked.txt"
    assert said["text"]["rows"] == len(banks.queries("text")[2]) == 20 + said["image"]["rows"]
    assert said["image"] | {"digest": ""} == {
        "origin": "corpus", "rows": len(banks.part("bank", "image")[2]), "digest": "",
        "fingerprint": "colour-image@1",
    }  # fmt: skip
    check_encoders(banks, FINGERPRINTS)
    with pytest.raises(
        EncoderError, match="were made by colour-text@1, the space has colour-text@2"
    ):
        check_encoders(banks, FINGERPRINTS | {"text": "colour-text@2"})


def test_too_few_queries_are_joined_by_the_corpus_s(copied: Path, squares: Workspace) -> None:
    (copied / "asked.txt").write_text("one thing\nanother thing\n")
    banks = drawn(configured(copied, "query_bank: file, queries: asked.txt"))
    own = Banks(squares.tables.open("banks__colours").to_table()).part("bank", "text")[2]
    assert len(banks.queries("text")[2]) == 2 + len(own)


def test_a_bank_that_came_out_the_same_makes_nothing_after_it_run(copied: Path) -> None:
    workspace = configured(copied, "seed: 0")
    assert staleness.stale(workspace, None) == []
    draw_banks(StageContext(workspace, forced=True))
    assert staleness.stale(workspace, None) == []
    (copied / "asked.txt").write_text("\n".join(f"thing {n}" for n in range(20)))
    workspace = configured(copied, "query_bank: file, queries: asked.txt")
    assert staleness.stale(workspace, None) == ["banks", "gallery", "release"]
    draw_banks(StageContext(workspace, forced=True))
    assert staleness.stale(workspace, None) == ["gallery", "release"]
    key = run_keys.banks(StageContext(workspace))
    (copied / "asked.txt").write_text("\n".join(f"thing {n}" for n in range(21)))
    assert run_keys.banks(StageContext(workspace)) != key
    (copied / "asked.txt").unlink()
    assert staleness.stale(workspace, None) == ["banks", "gallery", "release"]
    with pytest.raises(NotFoundError, match=r"there is no file .*asked\.txt"):
        draw_banks(StageContext(workspace, forced=True))


def test_a_file_of_records(copied: Path) -> None:
    (copied / "pictures").mkdir()
    (copied / "pictures" / "red.png").write_bytes(picture((250, 0, 0), 4_000))
    (copied / "pictures" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    records: list = [{"text": f"thing {n}"} for n in range(20)]
    records += [{"image": "pictures/red.png"}, {"image": "pictures/cut.png"}, {"image": "no.png"}]
    records += [
        {"audio": "a.wav"},
        {"text": "a", "image": "b"},
        {"text": 3},
        [],
        {"text": "\ud800"},
    ]
    lines = [json.dumps(r) for r in records] + ["no json"]
    (copied / "asked.jsonl").write_text("\n".join(lines))
    workspace = configured(copied, "query_bank: file, queries: asked.jsonl")
    banks = drawn(workspace)
    assert len(banks.queries("text")[2]) == 20
    origins = Counter(
        banks.table.filter(pa.compute.field("split") == "queries")["origin"].to_pylist()
    )
    assert origins["file:asked.jsonl"] == 21  # the picture too, joined by the corpus's
    rules = Counter(e["rule"] for e in ledger(workspace))
    assert rules == {
        "image.broken": 1, "image.missing": 1, "audio.missing": 1, "query.json": 4,
        "text.encoding": 1,
    }  # fmt: skip
    assert conserved(workspace)["failed"] == 8


def vectors_file(
    path: Path, rows: np.ndarray, space="colours", fingerprint="colour-text@1"
) -> None:
    about = {"space": space, "fingerprint": fingerprint, "modality": "text"}
    if path.suffix == ".npy":
        np.save(path, rows)
        path.with_suffix(".json").write_text(json.dumps(about))
    else:
        columns = {name: [value] * len(rows) for name, value in about.items()}
        pq.write_table(pa.table({**columns, "vector": list(rows)}), path)


@pytest.mark.parametrize("name", ["asked.npy", "asked.parquet"])
def test_a_file_of_vectors(copied: Path, squares: Workspace, name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32)
    rows[3], rows[4] = np.nan, 0
    before = Banks(squares.tables.open("banks__colours").to_table())
    vectors, clusters, parts = before.part("bank", "text")
    rows[5] = 3 * vectors[0]  # of any length
    rows[6] = before.part("test", "text")[0][0] + 1e-5
    vectors_file(copied / name, rows)
    workspace = configured(copied, f"query_bank: file, queries: {name}")
    found, found_clusters, found_parts = drawn(workspace).queries("text")
    assert len(found) == 37
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert dict(zip(found_parts, found_clusters, strict=True))[parts[0]] == clusters[0]
    lost = {(e["key"], e["rule"]) for e in ledger(workspace)}
    assert lost == {
        (f"{name}:4", "vector.broken"),
        (f"{name}:5", "vector.broken"),
        (f"{name}:7", "bank.held_out"),
    }
    assert conserved(workspace)["failed"] == 2


@pytest.mark.parametrize("name", ["asked.npy", "asked.parquet"])
def test_vectors_of_another_model_are_refused(copied: Path, name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32)
    workspace = configured(copied, f"query_bank: file, queries: {name}")
    vectors_file(copied / name, rows, fingerprint="colour-text@0")
    with pytest.raises(
        EncoderError, match=r"by colour-text@0; .* space 'colours' by colour-text@1"
    ):
        draw_banks(StageContext(workspace, forced=True))
    vectors_file(copied / name, rows, space="clip")
    with pytest.raises(EncoderError, match="made in space 'clip'"):
        draw_banks(StageContext(workspace, forced=True))
    vectors_file(copied / name, rows[:, :4])
    with pytest.raises(InputError, match="4 dimensions, the space has 16"):
        draw_banks(StageContext(workspace, forced=True))


def test_files_that_cannot_be_used(copied: Path) -> None:
    np.save(copied / "asked.npy", np.ones((4, DIM), np.float32))
    with pytest.raises(InputError, match=r"beside them asked\.json"):
        draw_banks(
            StageContext(configured(copied, "query_bank: file, queries: asked.npy"), forced=True)
        )
    pq.write_table(pa.table({"vector": [[1.0]]}), copied / "asked.parquet")
    with pytest.raises(InputError, match="columns space, fingerprint, modality and vector"):
        draw_banks(
            StageContext(
                configured(copied, "query_bank: file, queries: asked.parquet"), forced=True
            )
        )
    (copied / "asked.csv").write_text("a")
    with pytest.raises(ConfigError, match=r"none of \.txt, \.jsonl, \.parquet, \.npy"):
        draw_banks(
            StageContext(configured(copied, "query_bank: file, queries: asked.csv"), forced=True)
        )


def log(workspace: Workspace, texts: list[str], fingerprints: dict = FINGERPRINTS) -> None:
    written = QueryLog(workspace.tables, config.QueryLog())
    for vector in ColourText().encode(texts):
        written.add("colours", fingerprints, {"text": vector})
    written.close()


def test_queries_from_the_log(copied: Path, squares: Workspace) -> None:
    workspace = configured(copied, "query_bank: log", "query_log: {}\n")
    before = Banks(squares.tables.open("banks__colours").to_table())
    np.testing.assert_array_equal(
        drawn(workspace).queries("text")[2], before.part("bank", "text")[2]
    )
    key = run_keys.banks(StageContext(workspace))
    log(workspace, [captions(before, "test")[0], *(f"thing {n % 30}" for n in range(60))])
    log(workspace, [f"thing {n}" for n in range(9)], {"text": "colour-text@0"})
    assert (
        run_keys.banks(StageContext(workspace)) == key
    )  # or everything would always be out of date
    assert staleness.stale(workspace, None) == []
    banks = drawn(workspace)
    assert len(banks.queries("text")[2]) == 30
    entries = {e["rule"]: e for e in ledger(workspace)}
    assert entries["bank.fingerprint"]["key"] == "9 text queries"
    assert entries["bank.fingerprint"]["threshold"] == "colour-text@1"
    assert entries["bank.repeated"]["key"] == "30 text queries"
    assert "bank.held_out" in entries
    assert conserved(workspace)["rejected"] >= 40
    assert describe(workspace.tables.open("banks__colours"))["text"]["origin"] == "log"
    assert staleness.stale(workspace, None) == ["gallery", "release"]


def test_a_log_of_another_model_alone_is_refused(copied: Path) -> None:
    workspace = configured(copied, "query_bank: log", "query_log: {}\n")
    log(workspace, [f"thing {n}" for n in range(9)], {"text": "colour-text@0"})
    with pytest.raises(EncoderError, match=r"by colour-text@0.*\[corpus, log\]"):
        draw_banks(StageContext(workspace, forced=True))
    draw_banks(
        StageContext(
            configured(copied, "query_bank: [corpus, log]", "query_log: {}\n"), forced=True
        )
    )


def test_many_queries_leave_some_to_compare_with(copied: Path) -> None:
    workspace = configured(copied, "query_bank: log, bank_rows: 500", "query_log: {}\n")
    log(workspace, [f"thing {n}" for n in range(1000)])
    banks = drawn(workspace)
    bank, apart = banks.queries("text")[2], banks.part("reference", "text")[2]
    assert (len(bank), len(apart)) == (500, 250)
    assert not set(bank) & set(apart)
    (over,) = [e for e in ledger(workspace) if e["rule"] == "bank.rows"]
    assert over["key"] == "250 text queries"
    assert conserved(workspace)["rejected"] >= 250
    since = datetime(2000, 1, 1, tzinfo=UTC)
    assert query_log.count(workspace.tables, "colours", since) == 1000
