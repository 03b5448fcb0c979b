"""Token vectors in a corpus: made by difference, kept by releases, searched, and taken down."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isotrope
from assets.corpus_check import check_corpus
from assets.corpus_repair import repair_corpus
from embedders.registry import load_encoder
from pipelines.estimate.estimate import measured
from pipelines.removal.unreferenced import delete_unreferenced
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.takedown import takedown
from pipelines.takedown.selection import Selection
from store import errors
from store.search.late import read_tokens
from store.tables import tokens
from store.tables.lance_tables import quote
from store.tables.releases import latest_release
from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver, write_config
from tests.helpers.served import served
from tests.helpers.stages import build, make_stale_stages
from tests.helpers.towers import save_clip

TABLE, VECTORS = "tokens__colours__text", "vectors__colours"


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, squares: Workspace) -> Workspace:
    """A copy of `squares` whose captions have token vectors. Tests must not change it."""
    root = tmp_path_factory.mktemp("late") / "squares"
    shutil.copytree(squares.root, root)
    with (root / "corpus.yaml").open("a") as file:
        file.write("late: {}\n")
    workspace = Workspace.open(root)
    for drop in staleness.drops(workspace).values():
        assert staleness.stale(workspace, drop) == ["vectors"]
    before = {name: workspace.tables.version(name) for name in workspace.tables.names()}
    make_stale_stages(workspace)
    after = {name: workspace.tables.version(name) for name in workspace.tables.names()}
    changed = {name for name, version in after.items() if before.get(name) != version}
    assert changed == {TABLE, "releases", "stages", "tallies__colours"} & changed
    assert {TABLE, "releases"} <= changed
    return workspace


@pytest.fixture
def copied(tmp_path: Path, late: Workspace) -> Workspace:
    """A copy of the corpus that a test may change."""
    shutil.copytree(late.root, tmp_path / "squares", ignore=shutil.ignore_patterns("_locks"))
    return Workspace.open(tmp_path / "squares")


def parts(workspace: Workspace, table: str) -> list[str]:
    where = "modality = 'text'"
    return sorted(workspace.tables.open(table).to_table(["part_id"], where)["part_id"].to_pylist())


def test_all_captions_have_the_token_vectors_of_their_encoder(late: Workspace) -> None:
    assert parts(late, TABLE) == parts(late, VECTORS)
    rows = late.tables.open(TABLE).to_table()
    sets = tokens.read_column(rows["tokens"])
    encoder = load_encoder("python:tests.helpers.corpus:ColourText")
    samples = late.tables.open("samples").to_table(["text_id", "text"])
    texts = dict(zip(*(samples[c].to_pylist() for c in ("text_id", "text")), strict=True))
    for part, own in zip(rows["part_id"].to_pylist(), sets.split(), strict=True):
        (expected,) = encoder.encode_tokens([texts[part]])
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        assert ((own * expected).sum(axis=1) > 0.9995).all()
    assert set(rows["encoder"].to_pylist()) == {tokens.fingerprint(encoder.fingerprint)}


def test_a_release_has_them_and_search_ranks_by_them(late: Workspace) -> None:
    release = latest_release(late.tables)
    assert release.versions[TABLE] == late.tables.version(TABLE)
    search = isotrope.connect(late.root).search(text="number 41").among("text")
    rows = search.correct("none").late(2_000, 1.0).limit(3).to_list()
    assert rows[0]["caption"].endswith(" number 41")
    assert rows[0]["_max_sim"] == pytest.approx(1, abs=1e-3)
    assert search.late(50).run().notes[-1].startswith("late: the best 50 rows")
    assert rows[0]["_late"] > rows[1]["_late"]
    with pytest.raises(errors.InputError, match="no token vectors of image"):
        search.among("image").late().run()
    with pytest.raises(errors.InputError, match="release 1 has no token vectors"):
        search.release(1).late().run()
    assert [f for f in check_corpus(late, deep=True) if not f.passed] == []


@pytest.mark.slow
def test_queries_of_a_file_have_the_token_vectors_that_biases_are_fitted_on(
    copied: Workspace,
) -> None:
    queries = [f"a red square number {n}" for n in range(9000, 9040)]
    (copied.root / "queries.txt").write_text("\n".join(queries) + "\n")
    with (copied.root / "corpus.yaml").open("a") as file:
        file.write("corrections: {query_bank: file, queries: queries.txt}\n")
    workspace = Workspace.open(copied.root)
    before = parts(workspace, TABLE)
    make_stale_stages(workspace)
    opened = isotrope.open_corpus(workspace.root)
    bank = opened.banks.queries("text").parts.tolist()
    assert len(bank) == len(queries)
    assert sorted([*before, *bank]) == parts(workspace, TABLE)
    assert opened.release.versions[TABLE] == workspace.tables.version(TABLE)
    stored = read_tokens(opened, "text", bank)
    assert (stored.lengths == 5).all()
    (first,) = load_encoder("python:tests.helpers.corpus:ColourText").encode_tokens(queries[:1])
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    cosines = [np.einsum("td,td->t", own, first).min() for own in stored.split()]
    assert max(cosines) > 0.9995
    notes = opened.search(ids=before[0]).among("text").late(20).run().notes
    assert any("corrected MaxSim" in note for note in notes)
    version = workspace.tables.version(TABLE)
    build("release", StageContext(workspace))
    assert workspace.tables.version(TABLE) == version  # by difference


def test_a_server_and_an_estimate_know_token_vectors(late: Workspace) -> None:
    def found(corpus: Any) -> tuple[list[str], list[float]]:
        search = corpus.search(text=["a red square", "number 9"]).among("text").late(50, 0.5)
        rows = search.select("part_id").limit(5).to_list()
        return [row["part_id"] for row in rows], [row["_late"] for row in rows]

    local = found(isotrope.connect(late.root))
    with served(late.root) as server:
        remote = found(isotrope.connect(server.url))
    assert remote[0] == local[0]
    assert remote[1] == pytest.approx(local[1], abs=1e-4)
    sizes = [
        sum(file.stat().st_size for file in Path(late.tables.uri(name), "data").iterdir())
        for name in (TABLE, VECTORS)
    ]
    rate = measured(late, "vectors")
    assert rate is not None
    rows = late.tables.open(VECTORS).count_rows()
    assert rate.bytes * rows == pytest.approx(sum(sizes), rel=0.02)


@pytest.mark.slow
def test_a_caption_without_token_vectors_is_in_the_ledger(copied: Workspace) -> None:
    folder = copied.root / "drops" / "third"
    deliver(folder, 3, first=700)
    (first, *_) = sorted(folder.glob("*.txt"))
    first.write_text("an unreadable red square")
    make_stale_stages(copied)
    (part,) = set(parts(copied, VECTORS)) - set(parts(copied, TABLE))
    ledger = copied.tables.open("ledger").to_table(filter=f"id = {quote(part)}").to_pylist()
    assert [(row["stage"], row["rule"], row["outcome"]) for row in ledger] == [
        ("vectors", "tokens.encoder.error", "unmeasured")
    ]
    assert part in copied.tables.open("gallery__colours__text").to_table(["part_id"])[
        "part_id"
    ].to_pylist()  # fmt: skip
    assert [f for f in check_corpus(copied) if not f.passed] == []


@pytest.mark.slow
def test_a_new_drop_adds_its_own_and_a_takedown_removes_them(copied: Workspace) -> None:
    before = parts(copied, TABLE)
    deliver(copied.root / "drops" / "third", 20, first=700)
    make_stale_stages(copied)
    assert parts(copied, TABLE) == parts(copied, VECTORS)
    assert len(parts(copied, TABLE)) == len(before) + 20
    key = "blue-0127"
    (row,) = copied.tables.open("samples").to_table(filter=f"key = '{key}'").to_pylist()
    where = f"part_id = {quote(row['text_id'])}"
    (gone,) = copied.tables.open(TABLE).to_table(filter=where)["tokens"].to_pylist()
    needle = np.array(gone, np.int8).tobytes()
    files = [path for path in copied.root.rglob("*") if path.is_file()]
    assert any(needle in path.read_bytes() for path in files)
    receipt = takedown.take_down(copied, Selection(keys=frozenset([key])), "a request")
    assert receipt.rows[TABLE] == 1
    files = [path for path in copied.root.rglob("*") if path.is_file()]
    assert not any(needle in path.read_bytes() for path in files)
    for number in (2, 3):
        search = isotrope.connect(copied.root, release=number).search(text="blue number 127")
        captions = [row["caption"] for row in search.among("text").late(300).limit(300).to_list()]
        assert captions
        assert row["text"] not in captions


def test_token_vectors_of_no_sample_are_deleted(copied: Workspace) -> None:
    tables = copied.tables
    rows = tables.open(TABLE).to_table().slice(0, 2)
    ids = ["f" * 32, "e" * 32]
    extra = rows.set_column(0, rows.schema.field(0), [ids])
    tables.upsert(TABLE, rows.schema, extra.to_batches(), "part_id")
    assert delete_unreferenced(copied) == {TABLE: 2}
    assert not set(ids) & set(parts(copied, TABLE))


def test_a_damaged_table_is_made_again(copied: Workspace) -> None:
    before = parts(copied, TABLE)
    for file in Path(copied.tables.uri(TABLE), "data").iterdir():
        file.unlink()
    done = repair_corpus(copied, yes=True)
    assert [each.table for each in done.tables] == [TABLE]
    assert "vectors" in done.stale
    make_stale_stages(copied)
    assert parts(copied, TABLE) == before
    assert isotrope.connect(copied.root).search(text="red").among("text").late().to_list()


@pytest.mark.slow
def test_patches_and_tokens_of_open_clip_are_compared(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    spec = f"open_clip:local-dir:{save_clip(clip)}"
    config = (
        f"{CONFIG[: CONFIG.index('    image:')]}    image: {spec}\n    text: {spec}\nlate: {{}}\n"
    )
    write_config(tmp_path / "corpus", config)
    deliver(tmp_path / "corpus" / "drops" / "first", 60)
    workspace = Workspace.open(tmp_path / "corpus")
    make_stale_stages(workspace)
    widths = {
        m: tokens.read_column(workspace.tables.open(f"tokens__colours__{m}").to_table()["tokens"])
        for m in ("image", "text")
    }
    assert {sets.vectors.shape[1] for sets in widths.values()} == {16}
    assert set(widths["image"].lengths) == {4}
    corpus = isotrope.connect(tmp_path / "corpus")
    file = next((tmp_path / "corpus" / "drops" / "first").glob("*.png"))
    for search in (corpus.search(text="a red square"), corpus.search(image=file)):
        for level in ("image", "text"):
            rows = search.among(level).late(30).to_list()
            assert len(rows) == 10
            assert all(row["_max_sim"] is not None for row in rows)
    (own,) = corpus.search(image=file).correct("none").late(60, 1.0).limit(1).to_list()
    assert own["key"] == file.stem
    assert own["_max_sim"] == pytest.approx(1, abs=1e-2)


def test_a_modality_without_token_vectors_is_named(copied: Workspace) -> None:
    file = copied.root / "corpus.yaml"
    file.write_text(file.read_text().replace("late: {}", "late: {modalities: [image]}"))
    workspace = Workspace.open(copied.root)
    with pytest.raises(errors.EncoderError, match="colour-image has no token vectors"):
        make_stale_stages(workspace)
    file.write_text(file.read_text().replace("[image]", "[video]"))
    with pytest.raises(errors.ConfigError, match=r"late\.modalities"):
        Workspace.open(copied.root)
    wrong = CONFIG.replace("  colours:\n", "  colours:\n    tokens: 64\n")
    file.write_text(wrong)
    with pytest.raises(errors.ConfigError, match=r"spaces\.colours\.tokens.*late:"):
        Workspace.open(copied.root)
