"""Queries as JSON, for servers and logs.

    {"inputs": [{"text": "a striped cat", "weight": 0.7},
                {"image": "<base64>", "weight": 0.3},
                {"vector": [0.1, 0.2], "modality": "text"},
                {"id": "<id of a part or a sample>", "weight": -0.5}],
     "among": "image", "correct": {"method": "csls", "params": {"k": 10}},
     "where": "image_width >= 256", "select": ["key", "caption"], "limit": 10, "offset": 0,
     "min_score": null, "timeout": null, "release": null, "dedup": null, "diverse": null,
     "hybrid": {"text": null, "weight": 0.5, "words": null}, "route": "direct",
     "expand": {"hops": 1, "alpha": 0.5}, "combine": "sum", "aggregate": "max",
     "late": {"depth": 100, "weight": 0.75}, "moments": false}

A batch has `queries`, a list of such lists, in the place of `inputs`. A compound query has both
`queries` and `compound`, a tree of their numbers: {"all": [0, {"any": [1, 2]}, {"none": [3]}]}.
All but `inputs` or `queries` can be left out. Negative weights are negative inputs; the positive
weights of a query are scaled to sum to one. Images and recordings are encoded files in base64. A
vector may also be the base64 of its float32 values, little-endian, which clients send: it is read
and written in less time. Paths are not possible: a server must not read its own files for a
stranger.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from store import strict_json
from store.errors import InputError, RecordError
from store.search import inputs as values
from store.search.inputs import Input, Inputs, scaled_to_one

COLUMNS = ("key", "caption")  # that are returned if no others are selected
MAX_COLUMNS = 100
MAX_JSON = 128 << 20  # bytes
_MAX_BASE64 = values.MAX_MEDIA * 4 // 3 + 4
_Media = Annotated[str, Field(max_length=_MAX_BASE64, description="An encoded file in base64.")]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_FLOAT32 = np.dtype("<f4")


def _unpacked(value: Any) -> Any:
    """The numbers of a vector that is written as base64. Other values are returned as they are."""
    if not isinstance(value, str):
        return value
    if len(value) > values.MAX_DIM * _FLOAT32.itemsize * 4 // 3 + 4:
        raise ValueError(f"a vector has at most {values.MAX_DIM:,} numbers")
    try:
        return np.frombuffer(base64.b64decode(value, validate=True), _FLOAT32).tolist()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"expected numbers, or the base64 of float32 values: {error}") from None


_Vector = Annotated[
    list[_Number],
    Field(max_length=values.MAX_DIM),
    BeforeValidator(_unpacked, json_schema_input_type=list[_Number] | str),
]


# The attributes of a query by their names in JSON.
OPTIONS = {
    "where": "condition",
    "limit": "count",
    "offset": "start",
    "min_score": "floor",
    "timeout": "seconds",
    "release": "number",
    "dedup": "duplicate",
    "diverse": "relevance",
    "route": "path",
    "combine": "combination",
    "aggregate": "aggregation",
    "moments": "in_moments",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class InputJson(_Strict):
    """One input: exactly one of text, image, audio, vector (with its modality) and id."""

    text: Annotated[str, Field(max_length=values.MAX_TEXT)] | None = None
    image: _Media | None = None
    audio: _Media | None = None
    vector: _Vector | None = None
    modality: str | None = None
    id: Annotated[str, Field(max_length=values.MAX_ID)] | None = None
    weight: _Number = 1.0

    @model_validator(mode="after")
    def _is_one_input(self) -> "InputJson":
        kinds = ("text", "image", "audio", "vector", "id")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1 or ("vector" in given) != (self.modality is not None):
            raise ValueError(f"expected one of {', '.join(kinds)}; a vector has a modality")
        return self

    def to_input(self) -> Input:
        """The input. Raises InputError if its value cannot be used."""
        if self.text is not None:
            made = values.text_input(self.text)
        elif self.image is not None:
            made = values.image_input(_decode("image", self.image))
        elif self.audio is not None:
            made = values.audio_input(_decode("audio", self.audio))
        elif self.vector is not None:
            made = values.vector_input(self.modality, self.vector)
        else:
            made = values.id_input(self.id)
        return made.times(self.weight)


class HybridJson(_Strict):
    """Full-text search beside the vectors: its text (null: the query's own), its weight, and
    whether the words of items are searched (null: where the release adopted this)."""

    text: Annotated[str, Field(max_length=values.MAX_TEXT)] | None = None
    weight: _Number = 0.5
    words: bool | None = None


class ExpandJson(_Strict):
    """Expansion along the graph of near items: its hops, and the share of the graph."""

    hops: int = 1
    alpha: _Number = 0.5


class LateJson(_Strict):
    """Late interaction of token vectors: the rows that it ranks anew, and its share."""

    depth: int = 100
    weight: _Number = 0.75


class CorrectJson(_Strict):
    """A correction: its method and parameters."""

    method: Annotated[str, Field(max_length=200)]
    params: Annotated[dict[str, int | float | bool | str], Field(max_length=20)] = {}


_InputList = Annotated[list[InputJson], Field(min_length=1, max_length=values.MAX_INPUTS)]


class QueryJson(_Strict):
    """A query. See the module `store.search.query_json`."""

    inputs: _InputList | None = None
    queries: Annotated[
        list[_InputList] | None, Field(min_length=1, max_length=values.MAX_QUERIES)
    ] = None
    among: str = "image"
    correct: str | CorrectJson = "auto"
    where: str | None = None
    select: Annotated[list[str], Field(max_length=MAX_COLUMNS)] = list(COLUMNS)
    limit: int = 10
    offset: int = 0
    min_score: _Number | None = None
    timeout: _Number | None = None
    release: int | None = None
    dedup: _Number | None = None
    diverse: _Number | None = None
    hybrid: HybridJson | None = None
    route: str = "direct"
    expand: ExpandJson | None = None
    combine: str = "sum"
    aggregate: str = "max"
    late: LateJson | None = None
    moments: bool = False
    compound: dict[str, list[Any]] | None = Field(
        None,
        description=(
            "Joins the queries of `queries` into one by their numbers: all, any or none of them,"
            ' as in {"all": [0, {"none": [1]}]}.'
        ),
    )

    @model_validator(mode="after")
    def _has_inputs(self) -> "QueryJson":
        if (self.inputs is None) == (self.queries is None):
            raise ValueError("expected either inputs or queries")
        if self.compound is not None and self.queries is None:
            raise ValueError("a compound query has queries")
        return self

    def to_inputs(self) -> tuple[Inputs, ...]:
        """The inputs of each query. Raises InputError if one cannot be used."""
        queries = [self.inputs] if self.inputs is not None else self.queries or []
        return tuple(scaled_to_one([each.to_input() for each in given]) for given in queries)


def parse(data: str | bytes) -> QueryJson:
    """Parse a JSON text that may come from a stranger.

    Raises:
        InputError: it is too long, no JSON, or no query. The message names the first wrong field.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    if len(raw) > MAX_JSON:
        raise InputError(f"the query has {len(raw):,} bytes; at most {MAX_JSON:,} are read")
    try:
        return QueryJson.model_validate(strict_json.parse(raw, "query"))
    except RecordError as error:
        raise InputError(f"the query is not valid JSON: {error.error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "query"
        raise InputError(f"{where[:200]}: {first['msg'][:200]}") from None


def write(
    queries: Sequence[Inputs], is_batch: bool, options: Mapping[str, Any], packed: bool
) -> str:
    """Write a query as JSON.

    Args:
        queries: the inputs of each query. Files are read and included.
        is_batch: whether there may be several.
        options: the other fields of `QueryJson`. What has its default value is left out.
        packed: write vectors as base64.

    Raises:
        InputError: a file of an input cannot be read.
    """
    batch = [[_input_json(i, packed) for i in inputs] for inputs in queries]
    written: dict[str, Any] = {"queries": batch} if is_batch else {"inputs": batch[0]}
    defaults = QueryJson.model_fields
    written |= {k: v for k, v in options.items() if v != defaults[k].get_default()}
    return json.dumps(written, ensure_ascii=False, allow_nan=False)


def _input_json(given: Input, packed: bool) -> dict[str, Any]:
    if given.kind == "vector":
        numbers: Any = given.vector.tolist()
        if packed:
            numbers = base64.b64encode(given.vector.astype(_FLOAT32).tobytes()).decode()
        written: dict[str, Any] = {"vector": numbers, "modality": given.modality}
    elif given.kind in ("image", "audio"):
        written = {given.kind: base64.b64encode(given.read()).decode()}
    else:
        written = {given.kind: given.value}
    return written if given.weight == 1 else {**written, "weight": given.weight}


def _decode(kind: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the {kind} is not base64: {error}") from None
