"""Encode a few texts that are not parts of samples, in this process."""

from collections.abc import Collection

import numpy as np
from rich.progress import track

from embedders.registry import load_encoder
from pipelines.engine.progress import console
from store.errors import RecordError

_BATCH = 128


def encode_texts(spec: str, texts: Collection[str], title: str) -> dict[str, np.ndarray | None]:
    """Unit vectors (d,) float32 of texts by an encoder; None: it rejects a text.

    Args:
        spec: the encoder, such as a tower of a space.
        texts: different ones.
        title: of the progress bar.
    """
    encoder = load_encoder(spec)
    vectors: dict[str, np.ndarray | None] = dict.fromkeys(texts)
    prepared = []
    for text in sorted(texts, key=lambda t: (len(t), t)):  # by length, so that little is padded
        try:
            prepared.append((text, encoder.prepare(text)))
        except RecordError:
            continue
    for start in track(
        range(0, len(prepared), _BATCH),
        title,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        batch = prepared[start : start + _BATCH]
        rows = encoder.encode([inputs for _, inputs in batch])
        vectors |= {text: row for (text, _), row in zip(batch, rows, strict=True)}
    return vectors
