"""Vectors of translated captions, which each release would otherwise encode again.

The table `translations__{space}` has a row for each translation of the newest release. Its vector
is used again while the text and the encoder are the same.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
from rich.progress import track

from embedders.registry import load_encoder
from embedders.spaces import Space
from pipelines.engine.progress import console
from store import identity
from store.errors import RecordError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import translations_table

_BATCH = 128


def translation_vectors(
    tables: Tables, space: Space, translations: Collection[tuple[str, str]]
) -> dict[str, np.ndarray]:
    """The unit vectors (d,) float32 of translations by text, without those of rejected texts.

    Args:
        tables: of the corpus.
        space: its tower of text encodes what is not stored yet.
        translations: pairs of the id of a sample and a text.
    """
    name, encoder = translations_table(space.name), space.fingerprint("text")
    stored = tables.scan(name, schema.TRANSLATIONS).to_pylist()
    vector_of = {row["part_id"]: row["vector"] for row in stored if row["encoder"] == encoder}
    part_of = {text: identity.part_id("text", text.encode()) for _, text in translations}
    missing = [text for text, part in part_of.items() if part not in vector_of]
    if missing:
        vector_of |= {part_of[text]: row for text, row in _encode(space, missing).items()}
    rows = sorted({(sample, part_of[text], encoder) for sample, text in translations})
    if rows != sorted((row["id"], row["part_id"], row["encoder"]) for row in stored):
        table = pa.Table.from_pylist(
            [
                {"id": sample, "part_id": part, "encoder": encoder, "vector": vector_of[part]}
                for sample, part, _ in rows
            ],
            schema=schema.TRANSLATIONS,
        )
        tables.replace(name, schema.TRANSLATIONS, table.to_batches(), None)
    return {
        text: np.asarray(vector_of[part], np.float32)
        for text, part in part_of.items()
        if vector_of[part] is not None
    }


def _encode(space: Space, texts: Collection[str]) -> dict[str, np.ndarray | None]:
    """Vectors of texts; None for a text that the encoder rejects."""
    encoder = load_encoder(space.towers["text"])
    vectors: dict[str, np.ndarray | None] = dict.fromkeys(texts)
    prepared = []
    for text in sorted(texts, key=lambda t: (len(t), t)):  # by length, so that little is padded
        try:
            prepared.append((text, encoder.prepare(text)))
        except RecordError:
            continue
    starts = range(0, len(prepared), _BATCH)
    for start in track(
        starts,
        "captions in other languages",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        batch = prepared[start : start + _BATCH]
        rows = encoder.encode([inputs for _, inputs in batch])
        vectors |= {text: row for (text, _), row in zip(batch, rows, strict=True)}
    return vectors
