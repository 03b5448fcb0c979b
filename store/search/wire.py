"""Results and errors as bytes: what the server of a corpus sends and its clients read."""

import json
from typing import Any, NamedTuple

import pyarrow as pa

from store import errors
from store.errors import IsotropeError
from store.search import result_json
from store.search.result import REMARKS, Result

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
_METADATA = b"isotrope"
_MAX_MESSAGE = 10_000  # characters


class Answer(NamedTuple):
    """A result and the number of the release that it comes from."""

    result: Result
    release: int


def write_arrow(answer: Answer) -> bytes:
    """Write an answer as an Arrow IPC stream. What it says beside its rows is JSON in the schema's
    metadata, under the key `isotrope`."""
    rows = answer.result.rows
    metadata = {_METADATA: json.dumps(_remarks(answer)).encode()}
    rows = rows.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def read_arrow(data: bytes) -> Answer:
    """Read what `write_arrow` wrote. Remarks that this version does not know are left out.

    Raises:
        ServerError: the data are something else.
    """
    try:
        rows = pa.ipc.open_stream(data).read_all()
        sent = json.loads(rows.schema.metadata[_METADATA])
        remarks = {name: sent[name] for name in REMARKS if name in sent}
        remarks["notes"] = tuple(remarks["notes"])
        return Answer(Result(rows.replace_schema_metadata(None), **remarks), int(sent["release"]))
    except (pa.ArrowException, ValueError, LookupError, TypeError) as error:
        raise errors.ServerError(f"the answer is not that of a corpus: {error}") from error


def answer_values(answer: Answer) -> dict[str, Any]:
    """An answer as JSON values: `release`, `complete`, `notes`, `recall`, `rows`. Bytes become
    base64."""
    return {**_remarks(answer), "rows": result_json.row_values(answer.result.rows)}


def write_json(answer: Answer) -> bytes:
    """Write what `answer_values` returns."""
    text = json.dumps(answer_values(answer), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def write_error(error: IsotropeError) -> dict[str, Any]:
    """An error as JSON: its type in `store.errors` and its message."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
    return {"error": {"type": kinds[0], "message": str(error)[:_MAX_MESSAGE]}}


def read_error(status: int, data: bytes) -> IsotropeError:
    """The error that a server's answer describes."""
    try:
        described = json.loads(data)["error"]
        kind = getattr(errors, described["type"])
        message = str(described["message"])
        if issubclass(kind, IsotropeError):
            return kind(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    text = data[:200].decode(errors="replace")
    return errors.ServerError(f"the server answered with the status {status}: {text}")


def _remarks(answer: Answer) -> dict[str, Any]:
    return {"release": answer.release, **answer.result.remarks}
