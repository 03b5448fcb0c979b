"""Corpora with samples and vectors for tests of pairs, and a dense reference of the signals."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.pairs.draw import MODALITY_PAIRS
from store import identity
from store.config.signals import Pairs
from store.tables import schema
from store.tables.schema import MODALITIES
from store.tables.staging import Counts, begin, publish
from store.workspace import Workspace
from tests.helpers.trio import CONFIG, DIM

KINDS = [("image", "text", "audio"), ("image", "text"), ("text", "audio"), ("image",)]


def unit(rng: np.random.Generator, rows: int, topics: int = 6) -> np.ndarray:
    """Unit rows around topics; row n has topic n % topics."""
    centres = np.random.default_rng(1).normal(size=(topics, DIM))
    x = centres[np.arange(rows) % topics] + 0.5 * rng.normal(size=(rows, DIM))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def samples(count: int, drops: Iterable[str] = ("a", "b")) -> list[dict]:
    """Samples with several kinds of parts; some share a part, and some are in both drops."""
    rows = []
    for number in range(count):
        parts = {}
        for m in KINDS[number % len(KINDS)]:
            shared = m == "image" and number % 24 < 8 and number % 4 < 2
            parts[f"{m}_id"] = identity.part_id(m, str(number // 8 if shared else -number).encode())
        ids = [parts.get(f"{m}_id") for m in ("image", "audio", "text")]
        row = {"id": identity.sample_id(*ids), "source": "s", "key": f"k{number}", **parts}
        rows += [{**row, "drop": d} for d in drops if d == "a" or number % 5 == 0]
    return rows


def deliver(root: Path, rows: list[dict], vectors: dict[str, np.ndarray]) -> Workspace:
    """A corpus with samples and vectors, and the records of both stages."""
    root.mkdir(exist_ok=True)
    (root / "corpus.yaml").write_text(CONFIG)
    workspace = Workspace.open(root)
    fill(workspace, rows, vectors)
    return workspace


def add_empty_signals(workspace: Workspace) -> None:
    """Signals without values, and no duplicates, of the drop `a`: what `decisions` needs."""
    tables = workspace.tables
    samples = tables.open("samples").to_table(columns=["drop", "id"])
    count = samples.num_rows
    signals = {n: pa.nulls(count, schema.SIGNALS.field(n).type) for n in schema.SIGNALS.names}
    signals |= {"drop": samples["drop"], "id": samples["id"]}
    rows = pa.table(signals, schema=schema.SIGNALS).to_batches()
    tables.replace("signals", schema.SIGNALS, rows, None)
    tables.replace("duplicates", schema.DUPLICATES, [], None)
    for stage, drop in (("signals", "a"), ("duplicates", "*")):
        with begin(tables, stage, "1", schema.SIGNALS, drop) as run:
            publish(
                tables,
                run,
                counts=Counts(count, count),
                entries=[],
                write=lambda: None,
                output=lambda: "1",
            )


def fill(workspace: Workspace, rows: list[dict], vectors: dict[str, np.ndarray]) -> None:
    tables = workspace.tables
    batch = pa.RecordBatch.from_pylist(rows, schema=schema.SAMPLES)
    tables.replace("samples", schema.SAMPLES, [batch], None)
    modality = {part: m for row in rows for m in MODALITIES if (part := row.get(f"{m}_id"))}
    vector_rows = [
        {"part_id": p, "modality": modality[p], "encoder": f"trio-{modality[p]}@1", "vector": v}
        for p, v in vectors.items()
    ]
    columns = schema.vectors(DIM)
    batch = pa.RecordBatch.from_pylist(vector_rows, schema=columns)
    tables.replace("vectors__trio", columns, [batch], None)
    record_stages(workspace, {row["drop"] for row in rows})


def record_stages(workspace: Workspace, drops: Iterable[str], output: str = "1") -> None:
    for name in drops:
        for made_stage in ("samples", "vectors"):
            with begin(workspace.tables, made_stage, output, schema.SAMPLES, name) as run:
                publish(
                    workspace.tables,
                    run,
                    counts=Counts(),
                    entries=[],
                    write=lambda: None,
                    output=lambda: output,
                )


def random_vectors(rows: list[dict], seed: int = 0) -> dict[str, np.ndarray]:
    """A random vector for each part, except one part in nine."""
    parts = sorted({row[f"{m}_id"] for row in rows for m in MODALITIES if f"{m}_id" in row})
    rows_of = unit(np.random.default_rng(seed), len(parts))
    return {p: v for n, (p, v) in enumerate(zip(parts, rows_of, strict=True)) if n % 9}


def pair_rows(workspace: Workspace) -> pa.Table:
    return workspace.tables.scan("pairs__trio", schema.PAIRS)


def configured(workspace: Workspace, **settings: object) -> Workspace:
    """The corpus with these settings in the section `pairs` of corpus.yaml."""
    config = workspace.config.model_copy(update={"pairs": Pairs(**settings)})  # type: ignore[arg-type]
    return replace(workspace, config=config)


def parts(rows: list[dict]) -> set[str]:
    return {row[f"{m}_id"] for row in rows for m in MODALITIES if f"{m}_id" in row}


def reference(
    rows: list[dict],
    vectors: dict[str, np.ndarray],
    bank: int,
    broken: Iterable[str] = (),
    drawn_from: list[dict] | None = None,
) -> dict:
    """(drop, id) -> signals, by loops. Pairs with a broken vector are drawn, but not compared.

    Banks are drawn from `drawn_from`, or from `rows`.
    """
    members = {row["id"]: row for row in drawn_from or rows}
    distinct = sorted(members.values(), key=lambda r: r["id"])
    out: dict = {(row["drop"], row["id"]): {} for row in rows}
    for a, b in MODALITY_PAIRS:

        def has_both(row: dict, embedded: set[str], a: str = a, b: str = b) -> bool:
            return row.get(f"{a}_id") in embedded and row.get(f"{b}_id") in embedded

        drawn = [row for row in distinct if has_both(row, {*vectors, *broken})][:bank]
        drawn = [row for row in drawn if has_both(row, set(vectors))]
        for row in (row for row in rows if has_both(row, set(vectors))):
            others = [r for r in drawn if all(r[f"{m}_id"] != row[f"{m}_id"] for m in (a, b))]
            x, y = vectors[row[f"{a}_id"]], vectors[row[f"{b}_id"]]
            to_b = np.array([x @ vectors[r[f"{b}_id"]] for r in others])
            signals = out[row["drop"], row["id"]]
            signals[f"{a}_{b}_cosine"] = x @ y
            signals[f"{a}_{b}_corrected"] = x @ y - np.sort(to_b)[-10:].mean()
            signals[f"{a}_{b}_rank"] = (to_b > x @ y).mean()
    for row in rows:
        parts = [vectors.get(row.get(f"{m}_id", "")) for m in MODALITIES]
        if all(p is not None for p in parts):
            volume = np.linalg.svd(np.stack(parts), compute_uv=False).prod()
            out[row["drop"], row["id"]]["text_image_audio_volume"] = volume
    return out
