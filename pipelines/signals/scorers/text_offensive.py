"""The probability that a text is offensive, by the linear model of `alt-profanity-check`.

A calibrated linear support vector machine on words, trained on 200,000 English tweets and comments
that people labelled (Zhou 2019). It also finds insults without a word of a list. Optional, and in
an extra of its own: the model is a pickle for one version of scikit-learn.
"""

from functools import cache
from typing import Any

import pyarrow as pa

from pipelines.signals.scorer import BatchScorer, Columns
from pipelines.signals.scorers.onnx_models import package_file
from store.errors import EncoderError
from store.tables.signals import SCORERS

_PACKAGE = "profanity_check"


def score(batch: pa.RecordBatch) -> Columns:
    """`text_offensive`: 0 to 1. Null without a text.

    Raises:
        EncoderError: the package of the model is not installed.
    """
    vectorizer, model = packaged_model()
    texts = batch["text"].to_pylist()
    present = [text for text in texts if text is not None]
    probabilities = iter(
        model.predict_proba(vectorizer.transform(present))[:, 1] if present else ()
    )
    values = [None if text is None else float(next(probabilities)) for text in texts]
    return {"text_offensive": pa.array(values, pa.float32())}


@cache
def packaged_model() -> tuple[Any, Any]:
    """What counts the words of texts, and the model.

    Raises:
        EncoderError: the package is not installed, or cannot be loaded.
    """
    try:
        import joblib

        files = (package_file(_PACKAGE, f"data/{name}.joblib") for name in ("vectorizer", "model"))
        vectorizer, model = map(joblib.load, files)
    except (EncoderError, ImportError):
        raise EncoderError(
            "signals.offensive: true needs the model of the package alt-profanity-check, which is"
            " not installed: pip install 'isotrope[offensive]'"
        ) from None
    return vectorizer, model


OFFENSIVE = BatchScorer("text_offensive", SCORERS["text_offensive"].names, ("text",), score)
