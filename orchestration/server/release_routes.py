"""What the release holds: its description, samples, originals, thumbnails, recordings."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from orchestration.server import openapi
from orchestration.server.service import Service
from store.identity import ID_PATTERN
from store.search.corpus import Corpus
from store.search.release_items import (
    Original,
    describe_sample,
    part_original,
    sample_original,
    thumbnail,
)
from store.search.release_json import Column, describe, filter_columns
from store.search.sample_record import SampleRecord, sample_record
from store.search.statistics import describe_galleries

T = TypeVar("T")
DESCRIPTION = """\
Images, texts and recordings are searched by texts, images, recordings, vectors, or a mix of them,
with hubness corrections that are compiled into the stored vectors. Only the items of the served
release can be read."""
SampleId = Annotated[str, Path(pattern=ID_PATTERN, description="The id of a sample.")]
PartId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The id of a part, `part_id` of a row.")
]
router = APIRouter(tags=["release"])


@router.get("/release", summary="The release", responses=openapi.RELEASE_RESPONSES)
async def release(request: Request) -> JSONResponse:
    """The release that is served: galleries, directions with their corrections, figures."""
    return JSONResponse(describe(request.app.state.service.corpus.release))


@router.get("/columns", summary="The columns of the galleries", responses=openapi.COLUMNS_RESPONSES)
async def columns(request: Request) -> dict[str, list[Column]]:
    """The columns that a condition can name, by gallery."""
    return await read_release(request, filter_columns)


@router.get("/statistics", summary="Statistics", responses=openapi.STATISTICS_RESPONSES)
async def statistics(request: Request) -> JSONResponse:
    """Rows by gallery and drop, bytes, indexes, corrections with their gain."""
    return JSONResponse(await read_release(request, lambda c: describe_galleries(c).to_dict()))


@router.get("/samples/{sample_id}", summary="A sample", responses=openapi.ITEM_RESPONSES)
async def sample(request: Request, sample_id: SampleId) -> JSONResponse:
    """The facts about a sample: key, source, text, sizes, metadata. Its media have own paths."""
    return JSONResponse(await read_release(request, lambda c: describe_sample(c, sample_id)))


@router.get(
    "/samples/{sample_id}/record",
    summary="What the tables say about a sample",
    responses=openapi.ITEM_RESPONSES,
)
async def record(request: Request, sample_id: SampleId) -> SampleRecord:
    """Parts and whether they are hubs, signals, verdicts with their rules, duplicates, releases.

    Other samples are named by id alone.
    """
    return await read_release(request, lambda c: sample_record(c, sample_id))


@router.get(
    "/samples/{sample_id}/{modality}",
    summary="An original",
    response_class=Response,
    responses=openapi.MEDIA_RESPONSES,
)
async def original(
    request: Request, sample_id: SampleId, modality: Literal["image", "audio", "text"]
) -> Response:
    """A part of a sample, as it was delivered."""
    return _media(await read_release(request, lambda c: sample_original(c, sample_id, modality)))


@router.get(
    "/thumbnails/{part_id}",
    summary="A thumbnail",
    response_class=Response,
    responses=openapi.MEDIA_RESPONSES,
)
async def small_image(request: Request, part_id: PartId) -> Response:
    """The thumbnail of an image, a JPEG."""
    data = await read_release(request, lambda c: thumbnail(c, part_id))
    return _media(Original(data, "image/jpeg"))


@router.get(
    "/audio/{part_id}",
    summary="A recording",
    response_class=Response,
    responses=openapi.MEDIA_RESPONSES,
)
async def recording(request: Request, part_id: PartId) -> Response:
    """A recording, as it was delivered."""
    return _media(await read_release(request, lambda c: part_original(c, part_id, "audio")))


async def read_release(request: Request, read: Callable[[Corpus], T]) -> T:
    """Read from the release that is served, in the queue of requests."""
    service: Service = request.app.state.service
    async with service.admit() as place:
        return await place.run(lambda: read(service.corpus))


def _media(part: Original) -> Response:
    # The id is a hash of the content: what was read once stays true.
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(part.data, media_type=part.media_type, headers=headers)
