"""The query client: one corpus, opened at a release.

corpus = isotrope.connect("data/stamps")
hits = corpus.search(text="a striped cat").among("image").where("image_width >= 256").limit(10)
hits.to_pandas()
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from store.errors import InputError
from store.search.opened import OpenRelease
from store.search.query import Query
from store.tables import schema


class Corpus(OpenRelease):
    """One corpus, opened at one of its releases. `isotrope.connect` makes it."""

    def refresh(self) -> "Corpus":
        """Switch to the newest release, unless the corpus was opened at a release number."""
        self._clear()
        return self

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        audio: Any = None,
        *,
        vectors: Mapping[str, Any] | None = None,
        weights: Sequence[float] | None = None,
    ) -> Query:
        """Start a query from one input or several. It runs when a `to_*` method is called.

        Args:
            text: a text.
            image: a path, encoded bytes, or a PIL image.
            audio: a path or encoded bytes.
            vectors: instead of the above, vectors (d,) of the release's space by modality.
            weights: one number for each input, in the order text, image, audio (or in the order of
                `vectors`). They are scaled to sum to one. Default: equal weights.

        Raises:
            InputError: there is no input, or the weights do not match the inputs.
        """
        arguments = {"text": text, "image": image, "audio": audio}
        inputs = {m: value for m, value in arguments.items() if value is not None}
        if bool(inputs) == bool(vectors):
            raise InputError(
                "search needs an input: text=, image= or audio=, or else vectors={modality: vector}"
            )
        modalities = list(vectors or inputs)
        if unknown := [m for m in modalities if m not in schema.MODALITIES]:
            allowed = ", ".join(schema.MODALITIES)
            raise InputError(f"{unknown[0]!r} is not a modality; allowed: {allowed}")
        return Query(self, inputs, dict(vectors or {}), _normalised(weights, modalities))


def _normalised(weights: Sequence[float] | None, modalities: list[str]) -> dict[str, float]:
    """Weights by modality that sum to one."""
    values = [1.0] * len(modalities) if weights is None else [float(w) for w in weights]
    total = sum(values)
    if len(values) != len(modalities) or min(values) < 0 or not np.isfinite(total) or total <= 0:
        raise InputError(
            f"weights={weights!r}: expected one non-negative number for each of"
            f" {', '.join(modalities)}, and at least one above zero"
        )
    return {m: w / total for m, w in zip(modalities, values, strict=True)}
