"""Banks are drawn from captions, a file of queries or the query log, and never from test pairs."""

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
from store.tables.banks import Banks, check_encoders, describe_banks
from store.tables.staging import stage_record
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, DIM, ColourText, picture, write_config

FINGERPRINTS = {"text": "colour-text@1", "image": "colour-image@1"}


@pytest.fixture
def copied(squares: Workspace, tmp_path: Path) -> Path:
    """A copy of the corpus `squares` that may be changed."""
    shutil.copytree(squares.root / "tables", tmp_path / "tables")
    shutil.copytree(squares.root / "drops", tmp_path / "drops")
    return tmp_path


def configure(root: Path, corrections: str, more: str = "") -> Workspace:
    write_config(root, f"{CONFIG}corrections: {{{corrections}}}\n{more}")
    return Workspace.open(root)


def draw(workspace: Workspace) -> Banks:
    draw_banks(StageContext(workspace, forced=True))
    return Banks(workspace.tables.open("banks__colours").to_table())


def captions(banks: Banks, split: str) -> list[str]:
    """The captions of a split, such as `a red square number 0`."""
    parts = set(banks.part(split, "text")[2])
    names = ("red", "green", "blue", "yellow", "grey")
    texts = [f"a {names[n % 5]} square number {n}" for n in range(600)]
    return [text for text in texts if identity.part_id("text", text.encode()) in parts]


def ledger(workspace: Workspace) -> list[dict]:
    return workspace.tables.scan("ledger", schema.LEDGER, where="stage = 'banks'").to_pylist()


def conserved_record(workspace: Workspace) -> dict:
    row = stage_record(workspace.tables, "banks")
    assert row is not None
    assert row["input"] == row["kept"] + row["rejected"] + row["failed"]
    return row


def test_a_file_of_texts(copied: Path, squares: Workspace) -> None:
    before = Banks(squares.tables.open("banks__colours").to_table())
    bank_text, test_text, validation_text = (
        captions(before, s)[0] for s in ("bank", "test", "validation")
    )
    good = [f"a violet thing {n}" for n in range(100)]
    lines = [text.encode() for text in (*good, bank_text, good[0], test_text, validation_text)]
    lines += [b"\xff broken", b"  ", b"x" * 2000, b"with a line end of Windows\r"]
    (copied / "queries.txt").write_bytes(b"\n".join(lines) + b"\n")
    workspace = configure(
        copied, "query_bank: file, queries: queries.txt", "limits: {text_bytes: 1000}\n"
    )
    banks = draw(workspace)

    vectors, clusters, parts = banks.queries("text")
    cluster_of = dict(zip(parts, clusters, strict=True))
    assert len(parts) == 102
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    row = list(parts).index(identity.part_id("text", good[7].encode()))
    np.testing.assert_allclose(vectors[row], ColourText().encode([good[7]])[0], atol=1e-6)
    _, bank_clusters, bank_parts = banks.part("bank", "text")
    caption = identity.part_id("text", bank_text.encode())
    assert cluster_of.pop(caption) == dict(zip(bank_parts, bank_clusters, strict=True))[caption]
    assert not set(cluster_of.values()) & set(banks.table["cluster"].to_pylist()).difference(
        cluster_of
    )
    # Queries of a modality that is not in the file, and all items, are the corpus's own.
    np.testing.assert_array_equal(banks.queries("image")[2], before.part("bank", "image")[2])
    np.testing.assert_array_equal(banks.part("bank", "text")[2], before.part("bank", "text")[2])

    excluded = {(e["key"], e["rule"]) for e in ledger(workspace)}
    assert excluded == {
        ("1 text queries", "bank.repeated"),
        ("queries.txt:103", "bank.held_out"),
        ("queries.txt:104", "bank.held_out"),
        ("queries.txt:105", "text.encoding"),
        ("queries.txt:106", "text.empty"),
        ("queries.txt:107", "text.bytes"),
    }
    samples = stage_record(workspace.tables, "decisions")
    assert samples is not None
    assert conserved_record(workspace)["input"] == samples["kept"] + 108
    assert conserved_record(workspace)["failed"] == 2


def test_banks_are_described_for_the_release(copied: Path) -> None:
    (copied / "queries.txt").write_text("\n".join(f"thing {n}" for n in range(20)))
    workspace = configure(copied, "query_bank: [corpus, file], queries: queries.txt")
    banks = draw(workspace)
    table = workspace.tables.open("banks__colours")
    description = json.loads(json.dumps(describe_banks(table)))
    assert description["version"] == table.version
    assert description["text"]["origin"] == "corpus + file:queries.txt"
    assert (
        description["text"]["rows"]
        == len(banks.queries("text")[2])
        == 20 + description["image"]["rows"]
    )
    assert description["image"] | {"digest": ""} == {
        "origin": "corpus", "rows": len(banks.part("bank", "image")[2]), "digest": "",
        "fingerprint": "colour-image@1",
    }  # fmt: skip
    check_encoders(banks, FINGERPRINTS, FINGERPRINTS)
    with pytest.raises(
        EncoderError, match="were made by colour-text@1, the space has colour-text@2"
    ):
        check_encoders(banks, FINGERPRINTS | {"text": "colour-text@2"}, FINGERPRINTS)


def test_too_few_queries_are_joined_by_the_corpus_bank(copied: Path, squares: Workspace) -> None:
    (copied / "queries.txt").write_text("one thing\nanother thing\n")
    banks = draw(configure(copied, "query_bank: file, queries: queries.txt"))
    bank = Banks(squares.tables.open("banks__colours").to_table()).part("bank", "text")[2]
    assert len(banks.queries("text")[2]) == 2 + len(bank)


def test_banks_that_come_out_the_same_leave_later_stages_up_to_date(copied: Path) -> None:
    workspace = configure(copied, "seed: 0")
    assert staleness.stale(workspace, None) == []
    draw_banks(StageContext(workspace, forced=True))
    assert staleness.stale(workspace, None) == []
    (copied / "queries.txt").write_text("\n".join(f"thing {n}" for n in range(20)))
    workspace = configure(copied, "query_bank: file, queries: queries.txt")
    assert staleness.stale(workspace, None) == ["banks", "gallery", "index", "release"]
    draw_banks(StageContext(workspace, forced=True))
    assert staleness.stale(workspace, None) == ["gallery", "index", "release"]
    key = run_keys.banks(StageContext(workspace))
    (copied / "queries.txt").write_text("\n".join(f"thing {n}" for n in range(21)))
    assert run_keys.banks(StageContext(workspace)) != key
    (copied / "queries.txt").unlink()
    assert staleness.stale(workspace, None) == ["banks", "gallery", "index", "release"]
    with pytest.raises(NotFoundError, match=r"there is no file .*queries\.txt"):
        draw_banks(StageContext(workspace, forced=True))


@pytest.mark.slow
def test_a_file_of_json_lines(copied: Path) -> None:
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
    (copied / "queries.jsonl").write_text("\n".join(lines))
    workspace = configure(copied, "query_bank: file, queries: queries.jsonl")
    banks = draw(workspace)
    assert len(banks.queries("text")[2]) == 20
    origins = Counter(
        banks.table.filter(pa.compute.field("split") == "queries")["origin"].to_pylist()
    )
    assert origins["file:queries.jsonl"] == 21  # 20 texts and the image
    rules = Counter(e["rule"] for e in ledger(workspace))
    assert rules == {
        "image.broken": 1, "image.missing": 1, "audio.missing": 1, "query.json": 4,
        "text.encoding": 1,
    }  # fmt: skip
    assert conserved_record(workspace)["failed"] == 8


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


@pytest.mark.parametrize("name", ["queries.npy", "queries.parquet"])
def test_a_file_of_vectors(copied: Path, squares: Workspace, name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32)
    rows[3], rows[4] = np.nan, 0
    before = Banks(squares.tables.open("banks__colours").to_table())
    vectors, clusters, parts = before.part("bank", "text")
    rows[5] = 3 * vectors[0]  # vectors of any length are normalised
    rows[6] = before.part("test", "text")[0][0] + 1e-5
    vectors_file(copied / name, rows)
    workspace = configure(copied, f"query_bank: file, queries: {name}")
    drawn, drawn_clusters, drawn_parts = draw(workspace).queries("text")
    assert len(drawn) == 37
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    assert dict(zip(drawn_parts, drawn_clusters, strict=True))[parts[0]] == clusters[0]
    excluded = {(e["key"], e["rule"]) for e in ledger(workspace)}
    assert excluded == {
        (f"{name}:4", "vector.broken"),
        (f"{name}:5", "vector.broken"),
        (f"{name}:7", "bank.held_out"),
    }
    assert conserved_record(workspace)["failed"] == 2


@pytest.mark.parametrize("name", ["queries.npy", "queries.parquet"])
def test_vectors_of_another_encoder_are_refused(copied: Path, name: str) -> None:
    rows = np.random.default_rng(0).normal(size=(40, DIM)).astype(np.float32)
    workspace = configure(copied, f"query_bank: file, queries: {name}")
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


def test_malformed_files_are_refused(copied: Path) -> None:
    np.save(copied / "queries.npy", np.ones((4, DIM), np.float32))
    with pytest.raises(InputError, match=r"beside them queries\.json"):
        draw_banks(
            StageContext(configure(copied, "query_bank: file, queries: queries.npy"), forced=True)
        )
    pq.write_table(pa.table({"vector": [[1.0]]}), copied / "queries.parquet")
    with pytest.raises(InputError, match="columns space, fingerprint, modality and vector"):
        draw_banks(
            StageContext(
                configure(copied, "query_bank: file, queries: queries.parquet"), forced=True
            )
        )
    (copied / "queries.csv").write_text("a")
    with pytest.raises(ConfigError, match=r"none of \.txt, \.jsonl, \.parquet, \.npy"):
        draw_banks(
            StageContext(configure(copied, "query_bank: file, queries: queries.csv"), forced=True)
        )


def log(workspace: Workspace, texts: list[str], fingerprints: dict = FINGERPRINTS) -> None:
    writer = QueryLog(workspace.tables, config.QueryLog())
    for vector in ColourText().encode(texts):
        writer.add("colours", fingerprints, {"text": vector})
    writer.close()


def test_queries_from_the_log(copied: Path, squares: Workspace) -> None:
    workspace = configure(copied, "query_bank: log", "query_log: {}\n")
    before = Banks(squares.tables.open("banks__colours").to_table())
    np.testing.assert_array_equal(
        draw(workspace).queries("text")[2], before.part("bank", "text")[2]
    )
    key = run_keys.banks(StageContext(workspace))
    log(workspace, [captions(before, "test")[0], *(f"thing {n % 30}" for n in range(60))])
    log(workspace, [f"thing {n}" for n in range(9)], {"text": "colour-text@0"})
    # The log is not part of the run key: otherwise every search would make the banks out of date.
    assert run_keys.banks(StageContext(workspace)) == key
    assert staleness.stale(workspace, None) == []
    banks = draw(workspace)
    assert len(banks.queries("text")[2]) == 30
    entries = {e["rule"]: e for e in ledger(workspace)}
    assert entries["bank.fingerprint"]["key"] == "9 text queries"
    assert entries["bank.fingerprint"]["threshold"] == "colour-text@1"
    assert entries["bank.repeated"]["key"] == "30 text queries"
    assert "bank.held_out" in entries
    assert conserved_record(workspace)["rejected"] >= 40
    assert describe_banks(workspace.tables.open("banks__colours"))["text"]["origin"] == "log"
    assert staleness.stale(workspace, None) == ["gallery", "index", "release"]


def test_the_last_banks_are_written_again_only_if_clusters_changed(copied: Path) -> None:
    workspace, name = configure(copied, ""), "banks__colours"
    version, last = workspace.tables.version(name), workspace.tables.open(name).to_table()
    draw_banks(StageContext(workspace))
    assert workspace.tables.version(name) == version
    clusters = pa.array([f"another {c}" for c in last["cluster"].to_pylist()])
    changed = last.set_column(last.schema.names.index("cluster"), "cluster", clusters)
    workspace.tables.replace(name, last.schema, changed.to_batches(), None)
    draw_banks(StageContext(workspace))
    assert workspace.tables.version(name) > version + 1
    assert workspace.tables.open(name).to_table().equals(last)


def test_a_log_of_another_encoder_alone_is_refused(copied: Path) -> None:
    workspace = configure(copied, "query_bank: log", "query_log: {}\n")
    log(workspace, [f"thing {n}" for n in range(9)], {"text": "colour-text@0"})
    with pytest.raises(EncoderError, match=r"by colour-text@0.*\[corpus, log\]"):
        draw_banks(StageContext(workspace, forced=True))
    draw_banks(
        StageContext(configure(copied, "query_bank: [corpus, log]", "query_log: {}\n"), forced=True)
    )


def test_a_share_of_many_queries_is_kept_as_reference(copied: Path) -> None:
    workspace = configure(copied, "query_bank: log, bank_rows: 500", "query_log: {}\n")
    log(workspace, [f"thing {n}" for n in range(1000)])
    banks = draw(workspace)
    bank, reference = banks.queries("text")[2], banks.part("reference", "text")[2]
    assert (len(bank), len(reference)) == (500, 250)
    assert not set(bank) & set(reference)
    (surplus,) = [e for e in ledger(workspace) if e["rule"] == "bank.rows"]
    assert surplus["key"] == "250 text queries"
    assert conserved_record(workspace)["rejected"] >= 250
    since = datetime(2000, 1, 1, tzinfo=UTC)
    assert query_log.count(workspace.tables, "colours", since) == 1000
