"""Write a synthetic corpus of captions and JPEGs directly into the tables, for benchmarks."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from embedders.corpus_space import corpus_space
from store import identity
from store.tables import schema
from store.tables.names import vectors_table
from store.tables.staging import Counts, begin, publish
from store.workspace import Workspace

DROP = "written"
_ROWS = 1000
_CONFIG = """\
sources:
  written: {{path: drops}}
policy:
  text_chars: {{max: 2000}}
space: measured
spaces:
  measured: {{{towers}}}
engine:
  ray: {{{ray}}}
"""
_WORDS = [f"word{n}" for n in range(500)]


def jpeg(number: int, side: int) -> bytes:
    """A JPEG of smooth noise, as large as a photograph of `side` pixels. `number` is the seed."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (side // 8, side // 8, 3), np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def caption(number: int) -> str:
    rng = np.random.default_rng(number)
    return " ".join([*rng.choice(_WORDS, rng.integers(5, 20)), str(number)])


def make_corpus(
    root: Path, towers: dict[str, str], samples: int, side: int = 0, ray: str = ""
) -> Workspace:
    """A workspace with one drop that has samples and signals.

    Args:
        root: folder of the corpus, which must not exist.
        towers: the encoder of each modality of the space.
        samples: number of samples.
        side: side of the square images in pixels; 0 for captions alone. At most 2,000 different
            images are made, so that writing takes no longer than embedding. Bytes after the end
            of a JPEG make each image a part of its own.
        ray: settings of engine.ray, such as "num_cpus: 1".
    """
    root.mkdir(parents=True)
    encoders = ", ".join(f'{m}: "{spec}"' for m, spec in towers.items())
    (root / "corpus.yaml").write_text(_CONFIG.format(towers=encoders, ray=ray), encoding="utf-8")
    workspace = Workspace.open(root)
    images = [jpeg(n, side) for n in range(min(samples, 2000))] if side else []
    _publish(workspace, "samples", schema.SAMPLES, _samples(samples, images), samples)
    _publish(workspace, "signals", schema.SIGNALS, _signals(workspace), samples)
    return workspace


def _samples(count: int, images: list[bytes]) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, _ROWS):
        rows = []
        for number in range(start, min(start + _ROWS, count)):
            text = caption(number)
            row = {"drop": DROP, "source": DROP, "key": f"{number:08d}", "text": text}
            row |= {"text_id": identity.part_id("text", text.encode()), "image_id": None}
            if images:
                image = images[number % len(images)] + number.to_bytes(4, "big")
                row |= {"image": image, "image_id": identity.part_id("image", image)}
                row |= {"image_bytes": len(image), "image_format": "jpeg"}
            row["id"] = identity.sample_id(row["image_id"], None, row["text_id"])
            rows.append(row)
        yield pa.RecordBatch.from_pylist(rows, schema=schema.SAMPLES)


def _signals(workspace: Workspace) -> Iterator[pa.RecordBatch]:
    for batch in workspace.tables.open("samples").to_batches(columns=["drop", "id", "text"]):
        rows = [{"drop": r["drop"], "id": r["id"], "text_chars": len(r["text"])}
                for r in batch.to_pylist()]  # fmt: skip
        yield pa.RecordBatch.from_pylist(rows, schema=schema.SIGNALS)


def _publish(
    workspace: Workspace,
    stage: str,
    table_schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    count: int,
) -> None:
    """Write the table of a stage as if the stage had run."""
    tables = workspace.tables
    with begin(tables, stage, "written", table_schema, DROP) as run:
        publish(
            tables,
            run,
            counts=Counts(count, count),
            entries=[],
            write=lambda: tables.replace(stage, table_schema, batches, None),
            output=lambda: "written",
        )


def delete_vectors(workspace: Workspace) -> None:
    """Delete the table of vectors, so that all parts are embedded again."""
    name = vectors_table(corpus_space(workspace).name)
    shutil.rmtree(workspace.tables.uri(name), ignore_errors=True)


def parts_of(workspace: Workspace, modality: str) -> dict[str, bytes | str]:
    """The content of all parts of a modality, by part id."""
    rows = workspace.tables.open("samples").to_table(columns=[f"{modality}_id", modality])
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))
