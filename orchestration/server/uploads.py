"""Reads queries from requests: JSON, or a form with a query and files."""

import base64
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from embedders.media.image import open_image
from store import strict_json
from store.errors import InputError, RecordError
from store.search.query import Query

FILE_PREFIX = "file:"
_MAX_FILES = 16
_FORM = "multipart/form-data"


@dataclass(frozen=True)
class Body:
    """The body of a search: the text of a query, and files by the names of their form fields."""

    query: bytes
    files: dict[str, bytes]


def is_form(content_type: str) -> bool:
    """Whether the body of this type is a form."""
    return content_type.partition(";")[0].strip().lower() == _FORM


async def read_body(request: Request, max_text: int) -> Body:
    """Read the body of a search.

    Args:
        request: whose body has not been read.
        max_text: the largest size of the query in a form, in bytes.

    Raises:
        InputError: the body is of another type, or a form that cannot be used.
    """
    content_type = request.headers.get("content-type", "")
    if not is_form(content_type):
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise InputError("the body of a search is application/json or multipart/form-data")
        return Body(await request.body(), {})
    query, files = b"{}", {}
    async with request.form(max_files=_MAX_FILES, max_fields=1, max_part_size=max_text) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = await value.read()
            elif name == "query":
                query = value.encode()
            else:
                raise InputError(f"the form has the field {name[:80]!r}; allowed: query, and files")
    return Body(query, files)


def read_query(body: Body, max_pixels: int) -> Query:
    """Make the query of a body.

    In a form, an input such as `{"image": "file:photo"}` is the file of the form field `photo`. If
    the query has no inputs, the files of the fields `image` and `audio` are the inputs.

    Raises:
        InputError: this is not a query, a file is missing, or an image has too many pixels.
    """
    query = Query.from_json(_with_files(body)) if body.files else Query.from_json(body.query)
    for given in (each for inputs in query.inputs for each in inputs):
        if given.kind == "image":
            try:
                open_image(given.read(), max_pixels)
            except RecordError as error:
                raise InputError(f"the image of the query cannot be used: {error.error}") from None
    return query


def _with_files(body: Body) -> str:
    try:
        query = strict_json.parse(body.query, "query")
    except RecordError as error:
        raise InputError(f"the query is not valid JSON: {error.error}") from None
    if not isinstance(query, dict):
        raise InputError("the query is not a JSON object")
    if "inputs" not in query and "queries" not in query:
        names = [name for name in ("image", "audio") if name in body.files]
        query["inputs"] = [{name: FILE_PREFIX + name} for name in names]
    lists = query.get("queries", [query.get("inputs")])
    for inputs in lists if isinstance(lists, list) else []:
        for each in inputs if isinstance(inputs, list) else []:
            if isinstance(each, dict):
                _insert_files(each, body.files)
    try:
        return strict_json.canonical_json(query, "query")
    except RecordError as error:
        raise InputError(f"the query is not valid JSON: {error.error}") from None


def _insert_files(given: dict[str, Any], files: dict[str, bytes]) -> None:
    for kind in ("image", "audio"):
        value = given.get(kind)
        if isinstance(value, str) and value.startswith(FILE_PREFIX):
            name = value.removeprefix(FILE_PREFIX)
            if name not in files:
                names = ", ".join(files) or "none"
                raise InputError(f"the form has no file {name[:80]!r}, only {names[:200]}")
            given[kind] = base64.b64encode(files[name]).decode()
