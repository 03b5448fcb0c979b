"""What the OpenAPI description says beyond the routes' signatures: bodies, answers, examples."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from pipelines.export.formats import FORMATS
from pipelines.reports.curation.answers import Alternative, Overview
from store.identity import ID_PATTERN
from store.search.corpus_map import CorpusMap
from store.search.explanation import Explanation
from store.search.plan import Plan
from store.search.query_json import QueryJson
from store.search.statistics import Statistics
from store.search.suggestion import Suggestion
from store.search.wire import ARROW, JSON

_REF = "#/components/schemas/{model}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


class Error(BaseModel):
    """What was wrong: the class of the error in `isotrope.errors`, and its message."""

    type: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is no success."""

    error: Error


class SearchAnswer(BaseModel):
    """The rows that a query finds, best first.

    `complete` is true if they are proven to be the best. `notes` say how they were found. `recall`
    is what share of the best ten the index finds, as measured for the release. A row has
    `id`, `modality`, `_score`, `_raw_score`, `_bias`, `rank` and the selected columns. A search of
    "any" adds `_calibrated`, one of "sample" also `part_id`, a hybrid search `_fused` and
    `_text_score`, an expanded one `_expanded`, aggregated samples `_aggregated`, late
    interaction `_late` and `_max_sim`, one of moments `_start` and `_end`, or `_box`. Bytes are in
    base64.
    """

    release: int
    complete: bool
    notes: list[str]
    recall: float
    rows: list[dict[str, Any]]


def _errors(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Answers by status, from keywords such as `s404`."""
    shared = {
        "s400": "The `Host` header or the body's form is not allowed.",
        "s401": "The API key is missing or wrong.",
        "s429": "The queue is full, or the key sends too much: wait `Retry-After` seconds.",
    }
    statuses = {**shared, **descriptions}
    return {
        int(name[1:]): {"model": ErrorAnswer, "description": text}
        for name, text in sorted(statuses.items())
    }


_QUERY_ERRORS = _errors(
    s404="A column, an id or a release that the query names does not exist.",
    s413="The body is too large.",
    s422="The query cannot be used; the message says why.",
    s504="The request took too long.",
)
SEARCH_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The rows", "model": SearchAnswer, "content": {ARROW: _BINARY}},
    **_QUERY_ERRORS,
}
EXPLAIN_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The explanation", "model": Explanation},
    **_QUERY_ERRORS,
}
PLAN_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The plan", "model": Plan},
    **_QUERY_ERRORS,
}
SUGGEST_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The suggestions", "model": list[Suggestion]},
    **_QUERY_ERRORS,
}
RELEASE_RESPONSES = _errors()
STATISTICS_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The statistics", "model": Statistics},
    **_errors(s504="The request took too long."),
}
COLUMNS_RESPONSES = _errors(s504="The request took too long.")
MAP_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The map", "model": CorpusMap},
    **_errors(s422="The release has no such gallery.", s504="The request took too long."),
}
_CURATION_ERRORS = _errors(
    s404="The server has no corpus.yaml, or signals of pairs have not been measured.",
    s422="The change of the policy is not allowed; the message says why.",
    s501="The server lacks the packages of the extra `pipelines`.",
    s504="The request took too long.",
)
CURATION_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The curation", "model": Overview},
    **_CURATION_ERRORS,
}
WHATIF_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What the other policy would keep", "model": Alternative},
    **_CURATION_ERRORS,
}
ITEM_RESPONSES = _errors(
    s404="The release has no such item.", s422="This is no id.", s504="The request took too long."
)
MEDIA_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"*/*": _BINARY}},
    **ITEM_RESPONSES,
}
EXPORT_RESPONSES: dict[int | str, dict[str, Any]] = _errors(
    s404="The server was started without `--exports`, or there is no such export.",
    s413="The body is too large.",
    s422="The query, the ids or the format cannot be used; the message says why.",
    s429="Another export is running, the queue is full, or the key sends too much.",
    s504="The request took too long.",
)
READY_RESPONSES: dict[int | str, dict[str, Any]] = {
    503: {"description": "No release is open, or the server shuts down."}
}

_EXAMPLES = {
    "text": {
        "summary": "Images for a text",
        "value": {"inputs": [{"text": "a striped cat"}], "among": "image", "limit": 10},
    },
    "filtered": {
        "summary": "With a condition, over all galleries",
        "value": {
            "inputs": [{"text": "a striped cat"}],
            "among": "any",
            "where": "image_width >= 256",
            "select": ["key", "caption", "part_id"],
        },
    },
    "hybrid": {
        "summary": "By vectors, and by the words of captions",
        "value": {"inputs": [{"text": "a striped cat"}], "hybrid": {"weight": 0.3}},
    },
    "expanded": {
        "summary": "Ranked anew by the graph of near items",
        "value": {"inputs": [{"text": "a cat"}], "expand": {"hops": 1, "alpha": 0.8}},
    },
    "mixed": {
        "summary": "A text and, less, a negative text",
        "value": {"inputs": [{"text": "a cat"}, {"text": "a drawing", "weight": -0.3}]},
    },
    "compound": {
        "summary": "Like the first query, and not like the second",
        "value": {
            "queries": [[{"text": "a dog"}], [{"text": "a person"}]],
            "compound": {"all": [0, {"none": [1]}]},
        },
    },
    "vectors": {
        "summary": "Two vectors of the release's space, in one batch",
        "value": {
            "queries": [
                [{"vector": [0.1, 0.2], "modality": "text"}],
                [{"vector": [0.2, 0.1], "modality": "image"}],
            ]
        },
    },
}
SEARCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {"$ref": _REF.format(model="QueryJson")}, "examples": _EXAMPLES},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": (
                        "`query` is a query as JSON, in which an input such as"
                        ' {"image": "file:photo"} is the file of the field `photo`. Without inputs,'
                        " the files of the fields `image` and `audio` are the inputs."
                    ),
                    "properties": {
                        "query": {"type": "string"},
                        "image": {"type": "string", "format": "binary"},
                        "audio": {"type": "string", "format": "binary"},
                    },
                    "additionalProperties": {"type": "string", "format": "binary"},
                }
            },
        },
    }
}
_IDS = {"type": "array", "items": {"type": "string", "pattern": ID_PATTERN}, "minItems": 1}


def _order(subset: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an export of a subset that a query or ids name."""
    return {
        "type": "object",
        "required": [subset, "format"],
        "properties": {subset: schema, "format": {"type": "string", "enum": list(FORMATS)}},
        "additionalProperties": False,
    }


EXPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "oneOf": [
                        _order("query", {"$ref": _REF.format(model="QueryJson")}),
                        _order("ids", _IDS),
                    ]
                },
                "examples": {
                    "query": {
                        "summary": "The samples that a query finds",
                        "value": {
                            "query": {"inputs": [{"text": "a striped cat"}], "limit": 1000},
                            "format": "webdataset",
                        },
                    },
                    "ids": {
                        "summary": "Samples by their ids",
                        "value": {"ids": ["0123456789abcdef" * 2], "format": "parquet"},
                    },
                },
            }
        },
    }
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the application, with the schema of queries."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        query = QueryJson.model_json_schema(ref_template=_REF)
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(query.pop("$defs", {}))
        schemas["QueryJson"] = query
        app.openapi_schema = described
    return app.openapi_schema
