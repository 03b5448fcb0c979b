"""Takedown: the bytes are gone, kept releases search as before, and the content stays out."""

import json
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assets.corpus_check import check_corpus
from pipelines.samples.stage import ingest
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.takedown import takedown
from pipelines.takedown.gallery_rows import without_samples
from pipelines.takedown.selection import Selection
from pipelines.vectors.pair_sums_file import load_sums
from store import identity
from store.arrow import as_matrix
from store.errors import BusyError, InputError, NotFoundError
from store.search.corpus import Corpus
from store.tables import projections, purge, releases, schema, takedowns
from store.tables.lance_tables import Tables
from store.tables.staging import begin, stage_record
from store.workspace import Workspace
from tests.helpers.stages import build, make_stale_stages

KEY = "blue-0127"
SPACE = "colours"


@pytest.fixture
def corpus(tmp_path: Path, squares: Workspace) -> Workspace:
    """A copy of the shared corpus."""
    root = tmp_path / "squares"
    shutil.copytree(squares.root, root, ignore=shutil.ignore_patterns("_locks"))
    return Workspace.open(root)


def sample(corpus: Workspace, key: str = KEY) -> dict[str, Any]:
    (row,) = corpus.tables.open("samples").to_table(filter=f"key = '{key}'").to_pylist()
    return row


def content(corpus: Workspace, row: dict[str, Any]) -> dict[str, bytes]:
    """Everything that must not be found on the disk afterwards."""
    vectors = {}
    for part in ("image_id", "text_id"):
        rows = corpus.tables.open(f"vectors__{SPACE}").to_table(filter=f"part_id = '{row[part]}'")
        vectors[part] = as_matrix(rows["vector"]).tobytes()
    return {
        "key": row["key"].encode(),
        "text": row["text"].encode(),
        "image": row["image"],
    } | vectors


def held(corpus: Workspace, needles: dict[str, bytes]) -> dict[str, list[str]]:
    """The files of the corpus, but its sources, that hold each of the byte strings."""
    out: dict[str, list[str]] = {name: [] for name in needles}
    for path in corpus.root.rglob("*"):
        if path.is_file() and not path.is_relative_to(corpus.root / "drops"):
            data = path.read_bytes()
            for name, needle in needles.items():
                if needle in data:
                    out[name].append(str(path.relative_to(corpus.root)))
    return out


def nothing(names: Iterable[str]) -> dict[str, list[str]]:
    return {name: [] for name in names}


def search(corpus: Workspace, vector: np.ndarray, number: int | None = None) -> list[tuple]:
    opened = Corpus(corpus.tables, number=number)
    hits = opened.search(vectors={"text": vector}).among("image").limit(1000).to_list()
    return [(hit["id"], round(hit["_score"], 6)) for hit in hits]


def test_the_bytes_are_gone_and_kept_releases_search_as_before(corpus: Workspace) -> None:
    build("release", StageContext(corpus))
    row = sample(corpus)
    needles = content(corpus, row)
    assert all(held(corpus, needles).values())
    (corpus.root / "report.html").write_text(row["text"])
    vector = np.frombuffer(needles["text_id"], np.float32)
    before = {number: search(corpus, vector, number) for number in (1, 2)}
    assert all(row["id"] in dict(hits) for hits in before.values())
    samples = stage_record(corpus.tables, "samples", row["drop"])
    assert samples is not None

    receipt = takedown.take_down(corpus, Selection(keys=frozenset([KEY])), "a request")

    assert held(corpus, needles) == nothing(needles)
    for number, hits in before.items():
        assert search(corpus, vector, number) == [hit for hit in hits if hit[0] != row["id"]]
    assert receipt.samples == [row["id"]]
    assert receipt.rows["samples"] == receipt.rows["gallery__colours__image"] == 1
    assert (
        json.loads((Path(corpus.tables.root) / receipt.file).read_text())["reason"] == "a request"
    )
    assert corpus.tables.open(f"tallies__{SPACE}").count_rows() == 0  # hashes of all parts
    assert KEY not in receipt.text()
    failed = [f for f in check_corpus(corpus, deep=True) if not f.passed]
    assert failed == []
    done = stage_record(corpus.tables, "samples", row["drop"])
    assert done is not None
    assert done["kept"] == samples["kept"] - 1
    assert done["rejected"] == samples["rejected"] + 1
    assert set(staleness.stale(corpus, None)) == set(staleness.GLOBAL)


def test_vectors_of_translations_go_with_their_sample(corpus: Workspace) -> None:
    before = corpus.tables.open(f"translations__{SPACE}").to_table()["id"].to_pylist()
    takedown.take_down(corpus, Selection(ids=frozenset(before[:1])))
    after = corpus.tables.open(f"translations__{SPACE}").to_table()["id"].to_pylist()
    assert after == [sample for sample in before if sample != before[0]]
    assert after


def test_sums_over_pairs_go_and_heads_stay(corpus: Workspace) -> None:
    files, head = corpus.tables.files, projections.projection_file(SPACE, "text", "0")
    for path in (head, projections.sums_file(head)):
        files.write(path, b"content")
    takedown.take_down(corpus, Selection(ids=frozenset([sample(corpus)["id"]])))
    assert files.exists(head)
    with pytest.raises(InputError, match=r"after a takedown: .* `isotrope align`"):
        load_sums(files, head)


def test_a_pair_that_others_are_measured_against_goes_from_the_draw(corpus: Workspace) -> None:
    row, name = sample(corpus), f"pair_draws__{SPACE}"
    ids = {row["id"], row["image_id"], row["text_id"]}

    def rows_of_it() -> int:
        """In any version, deleted rows too."""
        columns = ("sample_id", "part_id")
        batches = purge.rows_of_all_versions(corpus.tables, name, columns)
        return sum(len(ids & set(r.values())) > 0 for b in batches for r in b.to_pylist())

    count = corpus.tables.open(name).count_rows()
    members = rows_of_it()
    assert members >= 2
    takedown.take_down(corpus, Selection(keys=frozenset([KEY])))
    assert rows_of_it() == 0
    assert corpus.tables.open(name).count_rows() == count - members
    build("pairs", StageContext(corpus))
    assert rows_of_it() == 0
    pairs = corpus.tables.open(f"pairs__{SPACE}")
    assert pairs.count_rows() == corpus.tables.open("samples").count_rows()


@pytest.mark.slow
def test_a_run_afterwards_equals_one_that_never_had_the_content(
    corpus: Workspace, ray_cluster: None
) -> None:
    row = sample(corpus)
    takedown.take_down(corpus, Selection(keys=frozenset([KEY])))
    make_stale_stages(corpus)
    assert [f for f in check_corpus(corpus, deep=True) if not f.passed] == []
    never = Workspace.open(shutil.copytree(corpus.root, corpus.root.parent / "never"))
    shutil.rmtree(never.tables.root)
    for path in (never.root / "drops").rglob(f"{KEY}.*"):
        path.unlink()
    make_stale_stages(never)
    for name, columns in {
        "samples": ["drop", "id", "key", "text", "image"],
        "signals": ["drop", *schema.SIGNALS.names[1:]],
        "decisions": ["drop", "id", "keep", "rule"],
        "vectors__colours": ["part_id", "vector"],
        "gallery__colours__image": ["part_id", "id", "sample_ids", "caption", "thumbnail"],
    }.items():
        tables = [w.tables.open(name).to_table(columns=columns) for w in (corpus, never)]
        first, second = (sorted(map(repr, t.to_pylist())) for t in tables)
        assert first == second, name
    assert row["id"] not in str(never.tables.open("decisions").to_table(columns=["id"]))


def test_the_same_content_is_rejected_when_it_is_delivered_again(corpus: Workspace) -> None:
    row = sample(corpus)
    takedown.take_down(corpus, Selection(ids=frozenset([row["id"]])))
    source, again = corpus.root / "drops" / "first", corpus.root / "drops" / "third"
    again.mkdir()
    for suffix in (".png", ".txt"):
        shutil.copy(source / f"{KEY}{suffix}", again / f"renamed{suffix}")
        shutil.copy(source / f"red-0125{suffix}", again)
    shutil.copy(source / f"{KEY}.png", again / "recaptioned.png")
    (again / "recaptioned.txt").write_text("another caption")
    (again / "retold.txt").write_text(row["text"])
    counts = ingest(StageContext(corpus, staleness.drops(corpus)["third"]))
    assert (counts.input, counts.kept, counts.rejected) == (4, 2, 2)
    where = "drop = 'third'"
    kept = corpus.tables.open("samples").to_table(filter=where)["key"].to_pylist()
    assert sorted(kept) == ["red-0125", "retold"]
    entries = corpus.tables.open("ledger").to_table(filter=where).to_pylist()
    assert {entry["rule"] for entry in entries} == {takedowns.RULE}
    assert all("renamed" not in entry["key"] for entry in entries)


def share_image(corpus: Workspace, row: dict[str, Any]) -> None:
    """Add a sample with the same image and another caption, and make a second release."""
    text = "a blue copy 9127"
    text_id = identity.part_id("text", text.encode())
    copy = row | {"drop": "second", "key": "a-copy", "text": text, "text_id": text_id}
    copy["id"] = identity.sample_id(row["image_id"], None, text_id)
    samples = pa.Table.from_pylist([copy], schema=schema.SAMPLES)
    corpus.tables.replace("samples", schema.SAMPLES, samples.to_batches(), "false")
    name, where = f"gallery__{SPACE}__image", f"part_id = '{row['image_id']}'"
    gallery = corpus.tables.open(name)
    (shown,) = gallery.to_table(filter=where).to_pylist()
    shown |= {"sample_ids": [row["id"], copy["id"]], "drops": ["first", "second"]}
    columns = pa.schema(list(gallery.schema))
    rows = pa.Table.from_pylist([shown], schema=columns)
    corpus.tables.replace(name, columns, rows.to_batches(), where)
    build("release", StageContext(corpus))


def test_a_part_that_another_sample_has_stays_unless_it_is_named(corpus: Workspace) -> None:
    share_image(corpus, sample(corpus))
    row, copy = sample(corpus), sample(corpus, "a-copy")
    assert row["image_id"] == copy["image_id"]
    needles = content(corpus, row)
    takedown.take_down(corpus, Selection(ids=frozenset([row["id"]])))
    for number in (1, 2):
        gallery = Corpus(corpus.tables, number=number).gallery_dataset("image")
        rows = gallery.to_table(filter=f"part_id = '{row['image_id']}'").to_pylist()
        if number == 1:
            assert rows == []
        else:
            (only,) = rows
            assert only["sample_ids"] == [copy["id"]]
            assert (only["id"], only["key"], only["drops"]) == (copy["id"], "a-copy", ["second"])
            assert only["caption"] == copy["text"]
    left = held(corpus, needles)
    assert left["key"] == left["text"] == left["text_id"] == []
    assert left["image"]
    assert left["image_id"]
    receipt = takedown.take_down(corpus, Selection(parts=frozenset([row["image_id"]])))
    assert receipt.samples == [copy["id"]]
    assert held(corpus, needles | {"copy": b"a-copy"}) == nothing([*needles, "copy"])


def test_records_that_are_no_samples_leave_the_ledger(corpus: Workspace) -> None:
    takedown.take_down(corpus, Selection(keys=frozenset(["broken"])))
    entries = corpus.tables.open("ledger").to_table(filter="outcome = 'failed'").to_pylist()
    assert all(entry["key"].startswith("taken-down") for entry in entries)
    assert all(entry["error"] is None for entry in entries)
    assert [f for f in check_corpus(corpus) if not f.passed] == []


# A function, and after how many calls of it the takedown is interrupted.
STEPS: list[tuple[Any, str, int]] = [
    (takedowns, "block", 0),
    (takedown.rules, "vector_hashes", 0),
    (takedown.records, "forget_stages", 0),
    (takedown.purge, "purge_rows", 0),
    (purge._Rewriter, "commit", 0),
    (purge._Rewriter, "commit", 1),
    (takedown.purge, "purge_rows", 2),
    (releases, "follow_tags", 0),
    (takedown.records, "add_entries", 0),
    (takedown.records, "count_again", 0),
    (takedown.purge, "delete_old_versions", 0),
    (takedown.purge, "delete_old_versions", 3),
    (takedown, "write_receipt", 0),
]


def failing(function: Callable, calls: int, after: bool) -> Callable:
    """The function, but the call with this number raises KeyboardInterrupt."""
    count = iter(range(calls + 1))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        is_last = next(count, -1) == calls
        if is_last and not after:
            raise KeyboardInterrupt
        result = function(*args, **kwargs)
        if is_last:
            raise KeyboardInterrupt
        return result

    return wrapped


def test_an_interrupted_takedown_is_finished(
    corpus: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before and after each step, one after the other, in the same takedown."""
    row = sample(corpus)
    needles = content(corpus, row)
    interruptions = 0
    for owner, name, calls in STEPS:
        for after in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, failing(getattr(owner, name), calls, after))
                try:
                    if interruptions:
                        takedown.resume(corpus)
                    else:
                        takedown.take_down(corpus, Selection(keys=frozenset([KEY])))
                except KeyboardInterrupt:
                    interruptions += 1
            if corpus.tables.files.exists(takedowns.PLAN):
                with (
                    pytest.raises(BusyError, match="takedown"),
                    begin(corpus.tables, "signals", "key", schema.SIGNALS, "first"),
                ):
                    pass
    assert interruptions == 2 * len(STEPS)
    takedown.resume(corpus)
    assert held(corpus, needles) == nothing(needles)
    assert [f for f in check_corpus(corpus, deep=True) if not f.passed] == []


def test_searches_go_on_during_a_takedown(corpus: Workspace) -> None:
    row = sample(corpus)
    vector = np.frombuffer(content(corpus, row)["text_id"], np.float32)
    opened = Corpus(corpus.tables)
    results: list[list[str]] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def searches() -> None:
        while not ended.is_set():
            try:
                query = opened.search(vectors={"text": vector}).among("image").limit(5)
                results.append([hit["id"] for hit in query.to_list()])
            except BaseException as error:
                errors.append(error)

    thread = threading.Thread(target=searches)
    thread.start()
    while not results:
        pass
    for key in (KEY, "red-0000", "green-0031"):
        takedown.take_down(corpus, Selection(keys=frozenset([key])))
    count = len(results)
    while len(results) < count + 2 and not errors:
        pass
    ended.set()
    thread.join()
    assert errors == []
    assert row["id"] in results[0]
    assert row["id"] not in results[-1]


def test_what_is_not_there(corpus: Workspace) -> None:
    with pytest.raises(NotFoundError):
        takedown.take_down(corpus, Selection(keys=frozenset(["nothing"])))
    assert not corpus.tables.files.exists(takedowns.PLAN)
    takedown.take_down(corpus, Selection(ids=frozenset(["0" * 32])))
    assert takedowns.blocked(corpus.tables).samples == {"0" * 32}
    with pytest.raises(InputError, match="line 2"):
        Selection.read(["key=a", "b"])
    listed = Selection.read(["# a list", "key=a=b", "", "id=c", "part=d", "source=e"])
    assert listed.keys == {"a=b"}
    assert (listed.ids, listed.parts, listed.sources) == ({"c"}, {"d"}, {"e"})


def test_a_row_of_a_gallery_is_described_by_the_next_sample(tmp_path: Path) -> None:
    """Also if the corpus no longer has the sample, which a kept release can."""
    tables = Tables(tmp_path)
    columns = schema.gallery(4)
    rows = [
        {**dict.fromkeys(columns.names), "part_id": part, "id": ids[0], "key": "k", "cluster": "c"}
        | {"sample_ids": ids, "drops": ["a"], "caption": "secret", "vector": [0.0] * 16}
        | {f"bias_{m}": 0.0 for m in schema.MODALITIES}
        | {f"hub_{m}": False for m in schema.MODALITIES}
        for part, ids in (("p", ["x", "y"]), ("q", ["x"]), ("r", ["z", "x"]))
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=columns)
    edited = without_samples(tables, {"x"}, set())(batch).to_pylist()
    assert [row["part_id"] for row in edited] == ["p", "r"]
    assert [row["sample_ids"] for row in edited] == [["y"], ["z"]]
    assert [row["id"] for row in edited] == ["y", "z"]
    assert [row["caption"] for row in edited] == [None, "secret"]
