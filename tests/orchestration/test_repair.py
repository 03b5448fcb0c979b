"""`isotrope repair`: damaged tables go back, and only what they lost is made again."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.corpus_check import check_corpus
from assets.corpus_repair import repair_corpus
from orchestration.runner import prepare
from pipelines.stages import staleness
from store.tables import checksums, schema
from store.tables.table_files import manifest_of
from store.workspace import Workspace
from tests.helpers.stages import make_stale_stages
from tests.orchestration.test_cli import isotrope


@pytest.fixture
def corpus(squares_with_checksums: Workspace) -> Workspace:
    return squares_with_checksums


def newest_data(corpus: Workspace, name: str) -> Path:
    """The data file of the last fragment of a table."""
    fragment = corpus.tables.open(name).get_fragments()[-1]
    return Path(corpus.tables.uri(name), "data", fragment.metadata.files[0].path)


def newest_manifest(corpus: Workspace, name: str) -> Path:
    return Path(corpus.tables.uri(name), manifest_of(corpus.tables.version(name)))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable, Callable[[Path], object]]] = {
    "flipped bit": (newest_data, flip),
    "lost data": (newest_data, Path.unlink),
    "cut data": (newest_data, lambda path: path.write_bytes(path.read_bytes()[:-40])),
    "lost manifest": (newest_manifest, Path.unlink),
    "torn manifest": (newest_manifest, lambda path: path.write_bytes(b"torn")),
}
CASES = [
    ("samples", "flipped bit", ["samples"]),
    ("signals", "torn manifest", ["signals"]),
    ("vectors__colours", "cut data", ["vectors"]),
    ("gallery__colours__image", "flipped bit", ["gallery"]),
    ("gallery__colours__text", "lost manifest", ["gallery"]),
    ("stages", "torn manifest", ["signals", "vectors", *staleness.GLOBAL]),
]
MORE_CASES = [
    ("samples", "lost manifest", ["samples"]),
    ("signals", "lost data", ["signals"]),
    ("vectors__colours", "torn manifest", ["vectors"]),
    ("pairs__colours", "lost data", ["pairs"]),
    ("pair_draws__colours", "flipped bit", ["pairs"]),
    ("duplicates", "lost manifest", ["duplicates"]),
    ("decisions", "flipped bit", ["decisions"]),
    ("banks__colours", "torn manifest", ["banks"]),
    ("directions__colours", "cut data", ["gallery"]),
    ("releases", "lost manifest", ["release"]),
    ("tallies__colours", "cut data", ["release"]),
    ("ledger", "torn manifest", ["samples", "signals", "vectors", *staleness.GLOBAL]),
]
SLOW_CASES = [pytest.param(*case, marks=pytest.mark.slow) for case in MORE_CASES]


@pytest.mark.parametrize(("table", "damage", "stale"), [*CASES, *SLOW_CASES])
def test_a_damaged_table_is_repaired(
    corpus: Workspace, table: str, damage: str, stale: list[str]
) -> None:
    find, harm = DAMAGES[damage]
    harm(find(corpus, table))
    assert any(not f.passed for f in check_corpus(corpus, deep=True))
    done = repair_corpus(corpus)
    assert [each.table for each in done.tables] == [table]
    assert done.refused == {}
    assert done.stale == [s for s in schema_order() if s in stale]
    again = repair_corpus(corpus)
    assert again.tables == []
    assert again.stale == []
    kinds = {"files", "checksums", "unique parts"}
    assert [f for f in check_corpus(corpus) if not f.passed and f.check in kinds] == []


def schema_order() -> list[str]:
    return [*staleness.BY_DROP, *staleness.GLOBAL]


def test_a_sound_corpus_is_left_alone(corpus: Workspace) -> None:
    versions = {name: corpus.tables.version(name) for name in corpus.tables.names()}
    assert isotrope("repair", "--corpus", corpus.root) == "every table is sound\n"
    assert {name: corpus.tables.version(name) for name in corpus.tables.names()} == versions


def test_a_table_whose_folder_was_deleted_is_made_again(corpus: Workspace) -> None:
    shutil.rmtree(corpus.tables.uri("pairs__colours"))
    for command in ("run", "check", "maintain"):
        output = isotrope(command, "--corpus", corpus.root, fails=True)
        assert "table 'pairs__colours' is lost" in output
    assert repair_corpus(corpus).stale == ["pairs"]
    assert staleness.stale(corpus, None)[0] == "pairs"
    prepare(corpus)


def test_what_cannot_be_made_again_is_not_given_up_without_yes(corpus: Workspace) -> None:
    shutil.rmtree(corpus.root / "drops" / "second")
    for version in Path(corpus.tables.uri("samples"), "_versions").glob("*.manifest"):
        version.write_bytes(b"torn")
    output = isotrope("repair", "--corpus", corpus.root, fails=True)
    assert "second" in output
    assert "--yes" in output
    assert Path(corpus.tables.uri("samples")).is_dir()
    output = isotrope("repair", "--corpus", corpus.root, "--yes")
    assert "moved away" in output
    assert not corpus.tables.exists("samples")
    assert any(Path(corpus.tables.root, "_damaged", "samples.lance", "data").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_after_repairs_gives_the_tables_of_before(
    corpus: Workspace, squares: Workspace, ray_cluster: None
) -> None:
    """Five rounds of three random damages each."""
    chance = random.Random(11)
    for _ in range(5):
        for table in chance.sample(corpus.tables.names(), 3):
            find, harm = DAMAGES[chance.choice(list(DAMAGES))]
            if corpus.tables.open(table).count_rows():
                harm(find(corpus, table))
        repair_corpus(corpus, yes=True)
        make_stale_stages(corpus)
        for name in corpus.tables.names():
            checksums.record(corpus.tables, name)
        failed = [f for f in check_corpus(corpus, deep=True) if not f.passed]
        assert failed == [], failed
        for name, columns in {
            "samples": schema.SAMPLES.names,
            "decisions": ["drop", "id", "keep", "rule"],
            "gallery__colours__image": ["part_id", "id", "sample_ids", "caption"],
        }.items():
            pair = [w.tables.open(name).to_table(columns=columns) for w in (corpus, squares)]
            first, second = (sorted(map(repr, rows.to_pylist())) for rows in pair)
            assert first == second
