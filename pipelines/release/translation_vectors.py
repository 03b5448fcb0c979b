"""Vectors of translated captions, which each release would otherwise encode again.

The table `translations__{space}` has a row for each translation of the newest release. Its vector
is used again while the text and the encoder are the same.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.encode_texts import encode_texts
from store import identity
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import translations_table


def translation_vectors(
    tables: Tables, space: Space, translations: Collection[tuple[str, str]]
) -> dict[str, np.ndarray]:
    """The unit vectors (d,) float32 of translations by text, without those of rejected texts.

    Args:
        tables: of the corpus.
        space: its tower of textual queries encodes what is not stored yet.
        translations: pairs of the id of a sample and a text.
    """
    name, encoder = translations_table(space.name), space.query_fingerprint("text")
    stored = tables.scan(name, schema.TRANSLATIONS).to_pylist()
    vector_of = {row["part_id"]: row["vector"] for row in stored if row["encoder"] == encoder}
    part_of = {text: identity.part_id("text", text.encode()) for _, text in translations}
    missing = [text for text, part in part_of.items() if part not in vector_of]
    if missing:
        encoded = encode_texts(space.query_towers["text"], missing, "captions in other languages")
        vector_of |= {part_of[text]: row for text, row in encoded.items()}
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
