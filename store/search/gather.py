"""Turns the arguments of a search into the inputs of one query, or of several (lists)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from store.errors import InputError
from store.search.inputs import (
    MAX_INPUTS,
    MAX_QUERIES,
    Inputs,
    audio_input,
    id_input,
    image_input,
    text_input,
    vector_input,
)

NEGATIVE_WEIGHT = 0.5  # of all negative inputs together, beside positive ones of 1 together
_MAKE = {"text": text_input, "image": image_input, "audio": audio_input}


@dataclass(frozen=True)
class _Column:
    """One argument of a search: one input, or one for each query of a batch."""

    inputs: Inputs
    is_list: bool


def gather(
    text: Any = None,
    image: Any = None,
    audio: Any = None,
    vectors: Mapping[str, Any] | None = None,
    ids: Any = None,
    weights: Sequence[float] | None = None,
    negative: Mapping[str, Any] | None = None,
) -> tuple[tuple[Inputs, ...], bool]:
    """Build the inputs of a query, or of several, from the arguments of `Corpus.search`.

    Returns:
        The inputs of each query, and whether lists were given (a batch).

    Raises:
        InputError: an argument has the wrong type, shape, range or length.
    """
    columns = _columns(text, image, audio, vectors, ids)
    if not columns:
        raise InputError(
            "search needs an input: text=, image=, audio=, vectors={modality: vector} or ids="
        )
    scaled = _weights(weights, len(columns), 1.0, "weights")
    if negative is not None:
        given = _negative_columns(negative)
        scaled += [
            -w for w in _weights(negative.get("weights"), len(given), NEGATIVE_WEIGHT, "negative")
        ]
        columns += given
    lengths = sorted({len(c.inputs) for c in columns if c.is_list})
    if len(lengths) > 1 or lengths == [0]:
        raise InputError(f"lists of inputs must have one length, not {lengths}")
    count = lengths[0] if lengths else 1
    if count > MAX_QUERIES or len(columns) > MAX_INPUTS:
        raise InputError(
            f"{count} queries of {len(columns)} inputs: at most {MAX_QUERIES} queries of"
            f" {MAX_INPUTS} inputs can be searched at once"
        )
    queries = tuple(
        tuple(
            replace(c.inputs[i if c.is_list else 0], weight=w)
            for c, w in zip(columns, scaled, strict=True)
        )
        for i in range(count)
    )
    return queries, bool(lengths)


def _columns(text: Any, image: Any, audio: Any, vectors: Any, ids: Any) -> list[_Column]:
    columns = []
    for kind, value in (("text", text), ("image", image), ("audio", audio)):
        if value is not None:
            values = value if isinstance(value, list) else [value]
            columns.append(_Column(tuple(map(_MAKE[kind], values)), isinstance(value, list)))
    if vectors is not None and not isinstance(vectors, Mapping):
        raise InputError("vectors= takes {modality: vector}, such as {'text': [0.1, ...]}")
    for modality, value in (vectors or {}).items():
        is_list = _is_matrix(value)
        rows = list(value) if is_list else [value]
        columns.append(_Column(tuple(vector_input(modality, row) for row in rows), is_list))
    if ids is not None:
        values = [ids] if isinstance(ids, str) else ids
        if not isinstance(values, list | tuple) or not values:
            raise InputError("ids= takes an id, or a list of ids")
        columns += [_Column((id_input(value),), False) for value in values]
    return columns


def _negative_columns(negative: Any) -> list[_Column]:
    allowed = ("text", "image", "audio", "vectors", "ids", "weights")
    if not isinstance(negative, Mapping) or set(negative) - set(allowed):
        raise InputError(f"negative= takes a mapping with the keys {', '.join(allowed)}")
    columns = _columns(*(negative.get(name) for name in allowed[:-1]))
    if not columns:
        raise InputError("negative= has no input, such as {'text': 'a drawing'}")
    return columns


def _weights(weights: Any, count: int, total: float, name: str) -> list[float]:
    """`count` weights that sum to `total`. Given weights of negative inputs are not scaled."""
    if weights is None:
        return [total / count] * count
    try:
        if isinstance(weights, str) or any(isinstance(w, str | bytes | bool) for w in weights):
            raise TypeError
        values = [float(w) for w in weights]
    except (TypeError, ValueError):
        values = []
    positive = sum(values)
    if len(values) != count or min(values) < 0 or not 0 < positive < np.inf:
        raise InputError(
            f"{name}: expected one non-negative number for each of {count} inputs, and at least one"
            f" above zero, not {str(weights)[:80]}"
        )
    return values if name == "negative" else [w / positive for w in values]


def _is_matrix(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 2
    return (
        isinstance(value, list) and bool(value) and isinstance(value[0], list | tuple | np.ndarray)
    )
