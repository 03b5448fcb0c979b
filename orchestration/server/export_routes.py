"""/exports: the samples that a query finds are exported, as a job with progress.

Off unless `isotrope serve --exports FOLDER` names a folder. No request names a path.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow.compute as pc
from fastapi import APIRouter, Path, Request

from orchestration.server import openapi
from orchestration.server.exports import Export, Exports
from orchestration.server.service import Service
from orchestration.server.uploads import Body, read_body, read_query
from pipelines.export.formats import FORMATS
from store import strict_json
from store.errors import InputError, NotFoundError, RecordError
from store.search.query import Query
from store.search.subset import sample_ids
from store.tables import schema
from store.tables.lance_tables import Tables, one_of

router = APIRouter(tags=["export"])
JobId = Annotated[str, Path(pattern=r"^\d{8}-\d{6}-[0-9a-f]{8}$", description="The id of a job.")]


@router.post(
    "/exports",
    status_code=202,
    summary="Export the samples of a query",
    responses=openapi.EXPORT_RESPONSES,
    openapi_extra=openapi.EXPORT_BODY,
)
async def start(request: Request) -> Export:
    """Start to write the samples that a query finds into a new folder; one job runs at a time."""
    service: Service = request.app.state.service
    exports = _exports(service)
    async with service.admit() as place:
        exports.check_idle()
        body = await read_body(request, service.settings.json_bytes)

        def run() -> Export:
            query, to = _read_order(body, service.settings.image_pixels)
            ids = sample_ids(service.answer(query).result)
            if not ids:
                raise InputError("no sample satisfies the query, so there is nothing to export")
            return exports.start(ids, to, _media_bytes(service.corpus.tables, ids))

        return await place.run(run)


@router.get("/exports", summary="All exports", responses=openapi.EXPORT_RESPONSES)
async def jobs(request: Request) -> list[Export]:
    """The exports since the server was started, the newest first."""
    return await asyncio.to_thread(_exports(request.app.state.service).jobs)


@router.get("/exports/{job_id}", summary="An export", responses=openapi.EXPORT_RESPONSES)
async def job(request: Request, job_id: JobId) -> Export:
    """The state of an export, and how many bytes of about how many it has written."""
    return await asyncio.to_thread(_exports(request.app.state.service).get, job_id)


@router.delete("/exports/{job_id}", summary="Cancel an export", responses=openapi.EXPORT_RESPONSES)
async def cancel(request: Request, job_id: JobId) -> Export:
    """End a running export, and remove what it has written. One that has ended stays as it is."""
    return await asyncio.to_thread(_exports(request.app.state.service).cancel, job_id)


def _exports(service: Service) -> Exports:
    if service.exports is None:
        raise NotFoundError(
            "this server exports nothing: `isotrope serve --exports FOLDER` names a folder for it"
        )
    return service.exports


def _read_order(body: Body, max_pixels: int) -> tuple[Query, Any]:
    """The query and the format of a request."""
    try:
        order = strict_json.parse(body.query, "export")
        if body.files or not isinstance(order, dict) or set(order) != {"query", "format"}:
            raise InputError("the body of an export is JSON with `query` and `format`, no more")
        query = strict_json.canonical_json(order["query"], "query").encode()
    except RecordError as error:
        raise InputError(f"the body is not valid JSON: {error.error}") from None
    if order["format"] not in FORMATS:
        raise InputError(f"the format is one of {', '.join(FORMATS)}")
    return read_query(Body(query, {}), max_pixels), order["format"]


def _media_bytes(tables: Tables, ids: Sequence[str]) -> int:
    """The bytes of the pictures and recordings of samples: about those of an export."""
    columns = ["image_bytes", "audio_bytes"]
    rows = tables.scan("samples", schema.SAMPLES, columns, one_of("id", ids))
    return sum(pc.sum(rows[name]).as_py() or 0 for name in columns)
