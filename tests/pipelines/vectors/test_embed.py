"""The stage `vectors` on real tables and a real pool: which parts are embedded, and which fail."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from embedders.pool.one_process import OneProcess
from embedders.pool.pool import Pool
from embedders.pool.worker import UnitResult
from embedders.registry import load_encoder
from pipelines.samples.stage import ingest
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.vectors import encode_parts, staging_writer
from pipelines.vectors.stage import embed
from store import identity
from store.arrow import as_matrix
from store.errors import InvariantError
from store.tables import schema
from store.tables.staging import Counts, begin, stage_record
from store.workspace import Workspace
from tests.helpers import corpus
from tests.helpers.corpus import COLOURS, CONFIG, picture

pytestmark = pytest.mark.usefixtures("ray_cluster")


def texts(encoder: str) -> str:
    """The configuration of a corpus with captions only."""
    return CONFIG[: CONFIG.index("    image:")] + f'    text: "python:{encoder}"\n'


def deliver_captions(root: Path, drop: str, captions: dict[str, str]) -> None:
    """Write a drop of captions, by key."""
    folder = root / "drops" / drop
    folder.mkdir(parents=True)
    for key, text in captions.items():
        (folder / f"{key}.txt").write_text(text)


def curated(root: Path, config: str) -> Workspace:
    """A corpus with samples and signals of every drop."""
    corpus.write_config(root, config)
    workspace = Workspace.open(root)
    for name, drop in staleness.drops(workspace).items():
        ingest(StageContext(workspace, drop))
        measure(StageContext(workspace, name))
    return workspace


def vectors(workspace: Workspace) -> dict[str, np.ndarray]:
    """The stored vectors by part, each part once."""
    rows = workspace.tables.open("vectors__colours").to_table()
    parts = rows["part_id"].to_pylist()
    assert len(parts) == len(set(parts))
    return dict(zip(parts, as_matrix(rows["vector"]), strict=True))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part was encoded, by a pool or in one process."""
    counts: Counter[str] = Counter()

    def counted(encode: Callable) -> Callable:
        def map_and_count(self, units) -> Iterator[UnitResult]:
            for result in encode(self, units):
                counts.update(result.ids)
                yield result

        return map_and_count

    for processes in (Pool, OneProcess):
        monkeypatch.setattr(processes, "map", counted(processes.map))
    return counts


def test_a_part_is_embedded_once(tmp_path: Path, encoded: Counter[str]) -> None:
    corpus.deliver(tmp_path / "drops" / "a", 20)
    for number in range(5):  # one image with five captions, two of them equal
        stem = tmp_path / "drops" / "a" / f"again-{number}"
        stem.with_suffix(".png").write_bytes(picture(COLOURS["red"], 0))
        stem.with_suffix(".txt").write_text(f"a red square of caption {number % 4}")
    corpus.deliver(tmp_path / "drops" / "b", 25)
    workspace = curated(tmp_path, CONFIG)
    assert embed(StageContext(workspace, "a")) == Counts(20 + 24, 20 + 24)
    assert embed(StageContext(workspace, "b")) == Counts(50, 50)
    assert set(encoded.values()) == {1}
    assert len(encoded) == len(vectors(workspace)) == 20 + 24 + 2 * 5


@pytest.mark.slow
def test_a_part_that_breaks_the_encoder_fails_alone(tmp_path: Path) -> None:
    captions = {f"good{n}": f"a red square {n}" for n in range(6)}
    captions |= {"p1": "it raises", "p2": "it kills", "p3": "it is not a number"}
    deliver_captions(tmp_path, "a", captions)
    workspace = curated(tmp_path, texts("tests.helpers.corpus:PoisonedText"))
    assert embed(StageContext(workspace, "a")) == Counts(9, 6, failed=3)
    ledger = workspace.tables.scan("ledger", schema.LEDGER).to_pylist()
    rules = {e["key"]: e["rule"] for e in ledger if e["stage"] == "vectors"}
    assert rules == {"p1": "encoder.error", "p2": "encoder.crash", "p3": "encoder.nan"}
    assert len(vectors(workspace)) == 6


def test_a_resumed_run_embeds_only_missing_parts(
    tmp_path: Path, encoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encode_parts.UNIT_PARTS, "text", 8)
    monkeypatch.setattr(staging_writer, "_SECONDS", 0)
    monkeypatch.setattr(staging_writer, "_SHARE", 1e9)
    deliver_captions(tmp_path, "a", {f"{n:03d}": f"a blue square {n}" for n in range(100)})
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    add = staging_writer.StagingWriter.add

    def add_40(self, name, rows, entries) -> None:
        if self.parts >= 40:
            raise OSError("power cut")
        add(self, name, rows, entries)

    with monkeypatch.context() as patched:
        patched.setattr(staging_writer.StagingWriter, "add", add_40)
        with pytest.raises(OSError, match="power cut"):
            embed(StageContext(workspace, "a"))
    assert stage_record(workspace.tables, "vectors", "a") is None
    encoded_before = len(encoded)
    assert embed(StageContext(workspace, "a")) == Counts(100, 100)
    row = stage_record(workspace.tables, "vectors", "a")
    assert row is not None
    assert row["resumed"] >= 4
    assert encoded_before < 100
    assert sum(count - 1 for count in encoded.values()) <= 16  # parts that were not committed yet
    assert len(vectors(workspace)) == 100


def test_an_encoder_with_other_weights_embeds_all_parts_again(tmp_path: Path) -> None:
    deliver_captions(tmp_path, "a", {str(n): f"a green square {n}" for n in range(9)})
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    embed(StageContext(workspace, "a"))
    before = vectors(workspace)
    config = texts("tests.helpers.corpus:NewerText")
    (tmp_path / "corpus.yaml").write_text(config)
    assert embed(StageContext(Workspace.open(tmp_path), "a")) == Counts(9, 9)
    after = vectors(workspace)
    assert before.keys() == after.keys()
    assert all(np.allclose(before[part], -after[part]) for part in before)


def test_vectors_that_are_not_of_unit_length_are_not_published(tmp_path: Path) -> None:
    deliver_captions(tmp_path, "a", {"one": "a text"})
    workspace = curated(tmp_path, texts("tests.helpers.encoders:Unscaled"))
    with pytest.raises(InvariantError, match="has length 2"):
        embed(StageContext(workspace, "a"))
    assert not workspace.tables.exists("vectors__colours")


def test_units_are_cut_by_bytes_for_any_table_and_encoder(
    tmp_path: Path, encoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table and the encoder are not those of the space; a unit has about 100 bytes."""
    monkeypatch.setattr(encode_parts, "_UNIT_BYTES", 100)
    captions = {str(n): "a grey square " * (n % 7 + 1) + str(n) for n in range(30)}
    deliver_captions(tmp_path, "a", captions)
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    spec = "python:tests.helpers.encoders:Hashing"
    columns = schema.vectors(load_encoder(spec).dim)
    with begin(workspace.tables, "features", "key", columns, "a") as run:
        assert encode_parts.encode_parts(
            workspace, run, "a", "features__hashing", spec, "text"
        ) == (30, 30)
        workspace.tables.upsert("features__hashing", columns, run.batches(), "part_id")
        assert encode_parts.encode_parts(
            workspace, run, "a", "features__hashing", spec, "text"
        ) == (30, 30)
    assert set(encoded.values()) == {1}
    rows = workspace.tables.open("features__hashing").to_table()
    direct = load_encoder(spec).encode(list(captions.values()))
    ids = {text: identity.part_id("text", text.encode()) for text in captions.values()}
    stored = dict(zip(rows["part_id"].to_pylist(), as_matrix(rows["vector"]), strict=True))
    in_order = np.stack([stored[ids[text]] for text in captions.values()])
    np.testing.assert_allclose(in_order, direct, atol=1e-5)
