"""/exports: samples that a query finds, or a list of ids, are exported as a job with progress.

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
from store.identity import check_id
from store.search.release_items import unknown_samples
from store.search.subset import sample_ids
from store.tables import schema
from store.tables.lance_tables import Tables, one_of

router = APIRouter(tags=["export"])
_ORDERS = ({"query", "format"}, {"ids", "format"})
JobId = Annotated[str, Path(pattern=r"^\d{8}-\d{6}-[0-9a-f]{8}$", description="The id of a job.")]


@router.post(
    "/exports",
    status_code=202,
    summary="Export the samples of a query, or of a list of ids",
    responses=openapi.EXPORT_RESPONSES,
    openapi_extra=openapi.EXPORT_BODY,
)
async def start(request: Request) -> Export:
    """Start to write samples of the release into a new folder; one job runs at a time."""
    service: Service = request.app.state.service
    exports = _exports(service)
    async with service.admit() as place:
        exports.check_idle()
        body = await read_body(request, service.settings.json_bytes)

        def run() -> Export:
            order = _read_order(body)
            ids = _listed(service, order["ids"]) if "ids" in order else _found(service, order)
            to = order["format"]
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


def _read_order(body: Body) -> dict[str, Any]:
    """An order: `format`, and `query` or `ids`."""
    try:
        order = strict_json.parse(body.query, "export")
    except RecordError as error:
        raise InputError(f"the body is not valid JSON: {error.error}") from None
    if body.files or not isinstance(order, dict) or set(order) not in _ORDERS:
        raise InputError(
            "the body of an export is JSON with `format` and either `query` or `ids`, no more"
        )
    if order["format"] not in FORMATS:
        raise InputError(f"the format is one of {', '.join(FORMATS)}")
    return order


def _found(service: Service, order: dict[str, Any]) -> list[str]:
    """The ids of the samples that the query of an order finds."""
    try:
        text = strict_json.canonical_json(order["query"], "query")
    except RecordError as error:
        raise InputError(f"the query is not valid JSON: {error.error}") from None
    query = read_query(Body(text.encode(), {}), service.settings.image_pixels)
    if not (ids := sample_ids(service.answer(query).result)):
        raise InputError("no sample satisfies the query, so there is nothing to export")
    return ids


def _listed(service: Service, ids: Any) -> list[str]:
    """The ids of a list, each once, if they are of samples of the release."""
    most = service.settings.rows
    if not isinstance(ids, list) or not 0 < len(ids) <= most or set(map(type, ids)) != {str}:
        raise InputError(f"`ids` is a list of the ids of 1 to {most:,} samples")
    ids = [check_id(each) for each in dict.fromkeys(ids)]
    corpus = service.corpus
    if unknown := unknown_samples(corpus, ids):
        raise InputError(
            f"release {corpus.release.number} has {len(ids) - len(unknown):,} of the"
            f" {len(ids):,} samples, and not {unknown[0]}"
        )
    return ids


def _media_bytes(tables: Tables, ids: Sequence[str]) -> int:
    """The bytes of the pictures and recordings of samples: about those of an export."""
    columns = ["image_bytes", "audio_bytes"]
    rows = tables.scan("samples", schema.SAMPLES, columns, one_of("id", ids))
    return sum(pc.sum(rows[name]).as_py() or 0 for name in columns)
