"""The stage `pairs`: against a dense reference, in any order of arrival, and made again or not."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.metadata import signals as shown
from assets.table_checks import pairs_sound
from pipelines.pairs import stage
from pipelines.pairs.measure import PAIRS
from pipelines.pairs.stage import Meter, measure_pairs
from pipelines.stages import run_keys, staleness
from pipelines.stages.context import StageContext
from store import identity
from store.config.policy import Policy
from store.config.signals import Pairs
from store.errors import ConfigError, NotFoundError
from store.tables import schema
from store.tables.schema import MODALITIES
from store.tables.staging import Counts, begin, publish, record
from store.workspace import Workspace
from tests.helpers.trio import CONFIG, DIM

KINDS = [("image", "text", "audio"), ("image", "text"), ("text", "audio"), ("image",)]


def unit(rng: np.random.Generator, rows: int, topics: int = 6) -> np.ndarray:
    """Rows around some topics: what belongs together is near."""
    centres = np.random.default_rng(1).normal(size=(topics, DIM))
    x = centres[np.arange(rows) % topics] + 0.5 * rng.normal(size=(rows, DIM))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def samples(count: int, drops: Iterable[str] = ("a", "b")) -> list[dict]:
    """Samples of all kinds; some share a part, and some are in both drops."""
    rows = []
    for number in range(count):
        parts = {}
        for m in KINDS[number % len(KINDS)]:
            alike = m == "image" and number % 24 < 8 and number % 4 < 2
            parts[f"{m}_id"] = identity.part_id(m, str(number // 8 if alike else -number).encode())
        ids = [parts.get(f"{m}_id") for m in ("image", "audio", "text")]
        row = {"id": identity.sample_id(*ids), "source": "s", "key": f"k{number}", **parts}
        rows += [{**row, "drop": d} for d in drops if d == "a" or number % 5 == 0]
    return rows


def deliver(root: Path, rows: list[dict], vectors: dict[str, np.ndarray]) -> Workspace:
    """A corpus that has its samples and vectors, and the record of both."""
    root.mkdir(exist_ok=True)
    (root / "corpus.yaml").write_text(CONFIG)
    workspace = Workspace.open(root)
    fill(workspace, rows, vectors)
    return workspace


def fill(workspace: Workspace, rows: list[dict], vectors: dict[str, np.ndarray]) -> None:
    tables = workspace.tables
    batch = pa.RecordBatch.from_pylist(rows, schema=schema.SAMPLES)
    tables.replace("samples", schema.SAMPLES, [batch], None)
    modality = {part: m for row in rows for m in MODALITIES if (part := row.get(f"{m}_id"))}
    made = [
        {"part_id": p, "modality": modality[p], "encoder": f"trio-{modality[p]}@1", "vector": v}
        for p, v in vectors.items()
    ]
    columns = schema.vectors(DIM)
    batch = pa.RecordBatch.from_pylist(made, schema=columns)
    tables.replace("vectors__trio", columns, [batch], None)
    recorded(workspace, {row["drop"] for row in rows})


def recorded(workspace: Workspace, drops: Iterable[str], output: str = "1") -> None:
    for name in drops:
        for which in ("samples", "vectors"):
            with begin(workspace.tables, which, output, schema.SAMPLES, name) as run:
                publish(
                    workspace.tables,
                    run,
                    counts=Counts(),
                    entries=[],
                    write=lambda: None,
                    output=lambda: output,
                )


def some_vectors(rows: list[dict], seed: int = 0) -> dict[str, np.ndarray]:
    """A vector for each part, but for one in nine."""
    parts = sorted({row[f"{m}_id"] for row in rows for m in MODALITIES if f"{m}_id" in row})
    made = unit(np.random.default_rng(seed), len(parts))
    return {p: v for n, (p, v) in enumerate(zip(parts, made, strict=True)) if n % 9}


def measured(workspace: Workspace) -> pa.Table:
    return workspace.tables.scan("pairs__trio", schema.PAIRS)


def asking(workspace: Workspace, **asked: object) -> Workspace:
    config = workspace.config.model_copy(update={"pairs": Pairs(**asked)})  # type: ignore[arg-type]
    return replace(workspace, config=config)


@pytest.fixture
def corpus(tmp_path: Path) -> Workspace:
    rows = samples(120)
    return asking(deliver(tmp_path / "corpus", rows, some_vectors(rows)), bank=16)


def reference(
    rows: list[dict], vectors: dict[str, np.ndarray], bank: int, broken: Iterable[str] = ()
) -> dict:
    """(drop, id) -> signals, by loops. Parts with a broken vector are drawn, but not compared."""
    once = sorted({row["id"]: row for row in rows}.values(), key=lambda r: r["id"])
    out: dict = {(row["drop"], row["id"]): {} for row in rows}
    for a, b in PAIRS:

        def both(row: dict, known: set[str], a: str = a, b: str = b) -> bool:
            return row.get(f"{a}_id") in known and row.get(f"{b}_id") in known

        drawn = [row for row in once if both(row, {*vectors, *broken})][:bank]
        drawn = [row for row in drawn if row[f"{b}_id"] in vectors]
        for row in (row for row in rows if both(row, set(vectors))):
            others = [r for r in drawn if all(r[f"{m}_id"] != row[f"{m}_id"] for m in (a, b))]
            x, y = vectors[row[f"{a}_id"]], vectors[row[f"{b}_id"]]
            to_b = np.array([x @ vectors[r[f"{b}_id"]] for r in others])
            told = out[row["drop"], row["id"]]
            told[f"{a}_{b}_cosine"] = x @ y
            told[f"{a}_{b}_corrected"] = x @ y - np.sort(to_b)[-10:].mean()
            told[f"{a}_{b}_rank"] = (to_b > x @ y).mean()
    for row in rows:
        parts = [vectors.get(row.get(f"{m}_id", "")) for m in MODALITIES]
        if all(p is not None for p in parts):
            volume = np.linalg.svd(np.stack(parts), compute_uv=False).prod()
            out[row["drop"], row["id"]]["text_image_audio_volume"] = volume
    return out


def test_values_are_those_of_a_dense_reference(corpus: Workspace) -> None:
    rows = samples(120)
    expected = reference(rows, some_vectors(rows), bank=16)
    assert measure_pairs(StageContext(corpus)) == Counts(len(rows), len(rows))
    found = measured(corpus).to_pylist()
    assert [(r["drop"], r["id"]) for r in found] == sorted(expected)
    for row in found:
        told = expected[row.pop("drop"), row.pop("id")]
        assert {n for n, v in row.items() if v is not None} == set(told)
        assert told == pytest.approx({n: row[n] for n in told}, abs=2e-5)
    assert sum(bool(told) for told in expected.values()) > 40
    assert pairs_sound(corpus, "*")[1] == []
    assert {"signals", "histograms"} <= set(shown.pairs(corpus))


def test_the_order_of_arrival_changes_nothing(corpus: Workspace, tmp_path: Path) -> None:
    measure_pairs(StageContext(corpus))
    rows = samples(120)
    vectors = some_vectors(rows)
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = [rows[n] for n in order]
    other = deliver(tmp_path / "other", shuffled, dict(reversed(vectors.items())))
    measure_pairs(StageContext(asking(other, bank=16)))
    assert measured(other).equals(measured(corpus))
    first = [row for row in rows if row["drop"] == "b"]
    later = deliver(tmp_path / "later", first, {p: vectors[p] for p in parts(first) & set(vectors)})
    later = asking(later, bank=16)
    measure_pairs(StageContext(later))
    fill(later, rows, vectors)
    recorded(later, ["b"], "2")
    measure_pairs(StageContext(later))
    assert measured(later).equals(measured(corpus))


def parts(rows: list[dict]) -> set[str]:
    return {row[f"{m}_id"] for row in rows for m in MODALITIES if f"{m}_id" in row}


def test_it_is_made_again_where_something_changed(corpus: Workspace) -> None:
    tables = corpus.tables
    assert "pairs" in staleness.stale(corpus, None)
    measure_pairs(StageContext(corpus))
    assert "pairs" not in staleness.stale(corpus, None)
    version, before = tables.version("pairs__trio"), record(tables, "pairs")
    recorded(corpus, ["a"], "2")  # read and embedded again, and all came out the same
    assert "pairs" in staleness.stale(corpus, None)
    measure_pairs(StageContext(corpus))
    assert "pairs" not in staleness.stale(corpus, None)
    assert tables.version("pairs__trio") == version
    assert before is not None
    assert (record(tables, "pairs") or {})["output"] == before["output"]
    measure_pairs(StageContext(corpus, forced=True))
    assert tables.version("pairs__trio") > version
    assert "pairs" in staleness.stale(asking(corpus, bank=17), None)
    rows = samples(130)
    fill(corpus, rows, some_vectors(rows))
    recorded(corpus, ["a", "b"], "3")
    assert measure_pairs(StageContext(corpus)).kept == measured(corpus).num_rows == len(rows)


def test_decisions_depend_on_it_where_the_policy_names_it(corpus: Workspace) -> None:
    with begin(corpus.tables, "duplicates", "1", schema.DUPLICATES) as run:
        publish(
            corpus.tables,
            run,
            counts=Counts(),
            entries=[],
            write=lambda: None,
            output=lambda: "1",
        )
    run_keys.decisions(StageContext(corpus))
    policy = Policy.model_validate({"text_image_corrected": {"min": 0}})
    config = corpus.config.model_copy(update={"policy": policy})
    judging = replace(corpus, config=config)
    with pytest.raises(NotFoundError, match="no pairs yet"):
        run_keys.decisions(StageContext(judging))
    measure_pairs(StageContext(corpus))
    key, plain = run_keys.decisions(StageContext(judging)), run_keys.decisions(StageContext(corpus))
    measure_pairs(StageContext(asking(corpus, bank=8)))
    assert run_keys.decisions(StageContext(judging)) != key
    assert run_keys.decisions(StageContext(corpus)) == plain
    assert set(staleness.stale(judging, None)) >= {"pairs", "decisions"}


def test_an_interrupted_run_goes_on(
    corpus: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(corpus.root, whole)
    monkeypatch.setattr(stage, "_UNIT", 32)
    undisturbed = asking(Workspace.open(whole), bank=16)
    measure_pairs(StageContext(undisturbed))
    real, seen = Meter.__call__, []

    def failing(meter: Meter, tile: pa.Table, read: object) -> object:
        seen.append(tile.num_rows)
        if len(seen) == 3:
            raise RuntimeError("out of power")
        return real(meter, tile, read)

    monkeypatch.setattr(Meter, "__call__", failing)
    with pytest.raises(RuntimeError, match="out of power"):
        measure_pairs(StageContext(corpus))
    assert record(corpus.tables, "pairs") is None
    measure_pairs(StageContext(corpus))
    assert sum(seen) == len(samples(120)) + 32
    assert (record(corpus.tables, "pairs") or {})["resumed"] == 2
    assert measured(corpus).equals(measured(undisturbed))


def test_a_broken_vector_counts_as_none_and_is_told(tmp_path: Path) -> None:
    rows = samples(60, drops=["a"])
    vectors = some_vectors(rows)
    bad = [rows[n]["text_id"] for n in (0, 1) if rows[n]["text_id"] in vectors]
    vectors[bad[0]] = np.full(DIM, np.nan, np.float32)
    vectors[bad[1]] = vectors[bad[1]] * 2
    corpus = asking(deliver(tmp_path / "corpus", rows, vectors), bank=64)
    counts = measure_pairs(StageContext(corpus))
    assert (counts.input, counts.kept, counts.failed) == (60, 60, 0)
    sound = {p: v for p, v in vectors.items() if p not in bad}
    expected = reference(rows, sound, bank=64, broken=bad)
    for row in measured(corpus).to_pylist():
        told = expected[row["drop"], row["id"]]
        assert told == pytest.approx({n: row[n] for n in told}, abs=2e-5)
        assert row["text_image_cosine"] is None or "text_image_cosine" in told
    ledger = corpus.tables.scan("ledger", schema.LEDGER, where="stage = 'pairs'").to_pylist()
    assert {(e["key"], e["rule"], e["outcome"]) for e in ledger} == {
        ("k0", "pairs.vector", "unmeasured"),
        ("k1", "pairs.vector", "unmeasured"),
    }
    recorded(corpus, ["a"], "2")
    measure_pairs(StageContext(corpus))  # nothing to do, but what is told stays told
    assert corpus.tables.open("ledger").count_rows("stage = 'pairs'") == len(ledger) == 2


def test_one_modality_alone_has_no_pairs_and_one_sample_no_others(tmp_path: Path) -> None:
    rows = [row for row in samples(80, drops=["a"]) if set(row) & {"text_id", "audio_id"} == set()]
    corpus = deliver(tmp_path / "images", rows, some_vectors(rows))
    corpus = asking(corpus, clusters=3)
    measure_pairs(StageContext(corpus))
    found = measured(corpus)
    filled = {n for n in schema.PAIR_TYPES if found[n].null_count < found.num_rows}
    assert filled == {"image_cluster"}
    alone = samples(1, drops=["a"])
    vectors = dict(zip(sorted(parts(alone)), unit(np.random.default_rng(0), 3), strict=True))
    corpus = deliver(tmp_path / "alone", alone, vectors)
    measure_pairs(StageContext(corpus))
    (row,) = measured(corpus).to_pylist()
    assert row["text_image_cosine"] is not None
    assert row["text_image_corrected"] is None
    assert row["text_image_rank"] is None


def test_clusters_hold_what_is_near(tmp_path: Path) -> None:
    rows = samples(160, drops=["a"])
    listed = sorted(parts(rows))
    topics = unit(np.random.default_rng(5), len(listed), topics=4)
    corpus = deliver(tmp_path / "corpus", rows, dict(zip(listed, topics, strict=True)))
    measure_pairs(StageContext(asking(corpus, clusters=4)))
    found = measured(corpus)
    topic = {part: number % 4 for number, part in enumerate(listed)}
    of = {row["id"]: topic[row["image_id"]] for row in rows if "image_id" in row}
    there = found.filter(pc.is_valid(found["image_cluster"]))
    topics_of = [of[i] for i in there["id"].to_pylist()]
    pairs = set(zip(topics_of, there["image_cluster"].to_pylist(), strict=True))
    assert len(pairs) == len({t for t, _ in pairs}) == 4
    again = deliver(tmp_path / "again", rows[::-1], dict(zip(listed, topics, strict=True)))
    measure_pairs(StageContext(asking(again, clusters=4)))
    assert measured(again).equals(found)
    assert shown.show(asking(corpus, clusters=4))["clusters"]


def test_a_head_needs_its_own_space(corpus: Workspace) -> None:
    weight = np.random.default_rng(0).normal(size=(1, DIM)).astype(np.float32)
    np.savez(corpus.root / "head.npz", weight=weight, bias=np.ones(1, np.float32))
    measure_pairs(StageContext(asking(corpus, image_laion_aesthetic="head.npz")))
    rows = samples(120)
    vectors = some_vectors(rows)
    image = {row["id"]: row.get("image_id") for row in rows}
    for row in measured(corpus).to_pylist():
        part = image[row["id"]]
        expected = float(vectors[part] @ weight[0] + 1) if part in vectors else None
        assert row["image_laion_aesthetic"] == pytest.approx(expected, abs=1e-5)
    np.savez(corpus.root / "wide.npz", weight=np.ones((1, DIM + 1)), bias=np.ones(1))
    with pytest.raises(ConfigError, match=rf"of {DIM + 1} dim.*'trio' has vectors of {DIM}"):
        measure_pairs(StageContext(asking(corpus, image_laion_aesthetic="wide.npz")))
    with pytest.raises(NotFoundError, match="there is no file"):
        measure_pairs(StageContext(asking(corpus, image_laion_aesthetic="gone.npz")))


def test_a_generic_caption_falls_below_honest_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(400):
        named = {f"{m}_id": identity.part_id(m, str(number).encode()) for m in ("image", "text")}
        sample = identity.sample_id(named["image_id"], None, named["text_id"])
        rows.append({"id": sample, "drop": "a", "source": "s", "key": str(number), **named})
    topic, centre = rng.normal(size=(400, DIM)), rng.normal(size=(2, DIM))
    sides = [0.8 * c + topic + 0.1 * rng.normal(size=topic.shape) for c in centre]
    image, text = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in sides)
    text[::20] = image.mean(axis=0) / np.linalg.norm(image.mean(axis=0))
    vectors = {r["image_id"]: v for r, v in zip(rows, image, strict=True)}
    vectors |= {r["text_id"]: v for r, v in zip(rows, text, strict=True)}
    corpus = deliver(tmp_path / "corpus", rows, vectors)
    measure_pairs(StageContext(corpus))
    generic = {row["id"] for row in rows[::20]}
    found = measured(corpus)
    planted = np.array([i in generic for i in found["id"].to_pylist()])
    raw, fair, rank = (found[f"text_image_{n}"].to_numpy() for n in ("cosine", "corrected", "rank"))

    def below(values: np.ndarray) -> float:
        """How often a planted pair is below an honest one."""
        return (values[planted][:, None] < values[~planted]).mean()

    assert below(raw) < 0.4
    assert below(fair) > 0.9
    assert below(-rank) > 0.9
