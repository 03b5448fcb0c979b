"""The stage `vectors` on real tables and a real pool: what is embedded, what is not, and why."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedders.pool.pool import Pool, UnitResult
from embedders.registry import load
from pipelines.samples.stage import ingest
from pipelines.signals.stage import measure
from pipelines.stages import staleness
from pipelines.stages.context import StageContext
from pipelines.vectors import encode_parts, staging_writer
from pipelines.vectors.stage import embed
from store import identity
from store.arrays import as_matrix
from store.errors import InvariantError
from store.tables import schema
from store.tables.staging import Counts, begin, record
from store.workspace import Workspace
from tests.helpers import corpus
from tests.helpers.corpus import COLOURS, CONFIG, picture

pytestmark = pytest.mark.usefixtures("ray_cluster")


def texts(encoder: str) -> str:
    """The configuration of a corpus of captions alone."""
    return CONFIG[: CONFIG.index("    image:")] + f'    text: "python:{encoder}"\n'


def captioned(root: Path, drop: str, captions: dict[str, str]) -> None:
    folder = root / "drops" / drop
    folder.mkdir(parents=True)
    for key, text in captions.items():
        (folder / f"{key}.txt").write_text(text)


def curated(root: Path, config: str) -> Workspace:
    """With samples and signals of every drop."""
    corpus.begin(root, config)
    workspace = Workspace.open(root)
    for name, drop in staleness.drops(workspace).items():
        ingest(StageContext(workspace, drop))
        measure(StageContext(workspace, name))
    return workspace


def vectors(workspace: Workspace) -> dict[str, np.ndarray]:
    rows = workspace.tables.open("vectors__colours").to_table()
    parts = rows["part_id"].to_pylist()
    assert len(parts) == len(set(parts))
    return dict(zip(parts, as_matrix(rows["vector"]), strict=True))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each part has come out of a pool."""
    seen: Counter[str] = Counter()
    whole = Pool.map

    def map_and_count(self, units) -> Iterator[UnitResult]:
        for result in whole(self, units):
            seen.update(result.ids)
            yield result

    monkeypatch.setattr(Pool, "map", map_and_count)
    return seen


def test_a_part_is_embedded_once(tmp_path: Path, encoded: Counter[str]) -> None:
    corpus.deliver(tmp_path / "drops" / "a", 20)
    for number in range(5):  # one image, five captions, and one of them twice
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
def test_poison_costs_itself_alone(tmp_path: Path) -> None:
    captions = {f"good{n}": f"a red square {n}" for n in range(6)}
    captions |= {"p1": "it raises", "p2": "it kills", "p3": "it is not a number"}
    captioned(tmp_path, "a", captions)
    workspace = curated(tmp_path, texts("tests.helpers.corpus:PoisonedText"))
    assert embed(StageContext(workspace, "a")) == Counts(9, 6, failed=3)
    ledger = workspace.tables.scan("ledger", schema.LEDGER).to_pylist()
    rules = {e["key"]: e["rule"] for e in ledger if e["stage"] == "vectors"}
    assert rules == {"p1": "encoder.error", "p2": "encoder.crash", "p3": "encoder.nan"}
    assert len(vectors(workspace)) == 6


def test_a_run_that_broke_off_embeds_only_what_is_missing(
    tmp_path: Path, encoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encode_parts.UNIT_PARTS, "text", 8)
    monkeypatch.setattr(staging_writer, "_SECONDS", 0)
    monkeypatch.setattr(staging_writer, "_SHARE", 1e9)
    captioned(tmp_path, "a", {f"{n:03d}": f"a blue square {n}" for n in range(100)})
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    taken = staging_writer.StagingWriter.add

    def broken(self, name, rows, entries) -> None:
        if self.parts >= 40:
            raise OSError("power cut")
        taken(self, name, rows, entries)

    with monkeypatch.context() as patched:
        patched.setattr(staging_writer.StagingWriter, "add", broken)
        with pytest.raises(OSError, match="power cut"):
            embed(StageContext(workspace, "a"))
    assert record(workspace.tables, "vectors", "a") is None
    first = len(encoded)
    assert embed(StageContext(workspace, "a")) == Counts(100, 100)
    row = record(workspace.tables, "vectors", "a")
    assert row is not None
    assert row["resumed"] >= 4
    assert first < 100
    assert sum(count - 1 for count in encoded.values()) <= 16  # what was not committed yet
    assert len(vectors(workspace)) == 100


def test_other_weights_embed_anew(tmp_path: Path) -> None:
    captioned(tmp_path, "a", {str(n): f"a green square {n}" for n in range(9)})
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    embed(StageContext(workspace, "a"))
    before = vectors(workspace)
    config = texts("tests.helpers.corpus:NewerText")
    (tmp_path / "corpus.yaml").write_text(config)
    assert embed(StageContext(Workspace.open(tmp_path), "a")) == Counts(9, 9)
    after = vectors(workspace)
    assert before.keys() == after.keys()
    assert all(np.allclose(before[part], -after[part]) for part in before)


def test_vectors_of_another_length_publish_nothing(tmp_path: Path) -> None:
    captioned(tmp_path, "a", {"one": "a text"})
    workspace = curated(tmp_path, texts("tests.helpers.encoders:Unscaled"))
    with pytest.raises(InvariantError, match="has length 2"):
        embed(StageContext(workspace, "a"))
    assert not workspace.tables.exists("vectors__colours")


def test_any_table_is_filled_in_units_of_few_bytes(
    tmp_path: Path, encoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another table and another encoder than the space's, cut where a unit's bytes are enough."""
    monkeypatch.setattr(encode_parts, "_UNIT_BYTES", 100)
    captions = {str(n): "a grey square " * (n % 7 + 1) + str(n) for n in range(30)}
    captioned(tmp_path, "a", captions)
    workspace = curated(tmp_path, texts("tests.helpers.corpus:ColourText"))
    spec = "python:tests.helpers.encoders:Hashing"
    columns = schema.vectors(load(spec).dim)
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
    direct = load(spec).encode(list(captions.values()))
    ids = {text: identity.part_id("text", text.encode()) for text in captions.values()}
    made = dict(zip(rows["part_id"].to_pylist(), as_matrix(rows["vector"]), strict=True))
    found = np.stack([made[ids[text]] for text in captions.values()])
    np.testing.assert_allclose(found, direct, atol=1e-5)
