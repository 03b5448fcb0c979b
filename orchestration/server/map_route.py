"""GET /map: a gallery of the release as points in the plane."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from orchestration.server import openapi
from orchestration.server.release_routes import read_release
from store.search.corpus_map import CorpusMap, corpus_map
from store.search.wire import JSON

Modality = Literal["image", "text", "audio"]
_MAP = TypeAdapter(CorpusMap)
router = APIRouter(tags=["release"])


@router.get(
    "/map",
    summary="A map of a gallery",
    response_class=Response,
    responses=openapi.MAP_RESPONSES,
)
async def gallery_map(
    request: Request, gallery: Modality = "image", queries: Modality = "text"
) -> Response:
    """Points by the first two principal components, with k-occurrence before and after correction.

    A gallery of more than 20,000 parts is sampled. The first request for a map computes it.
    """
    content = await read_release(request, lambda c: _MAP.dump_json(corpus_map(c, gallery, queries)))
    return Response(content, media_type=JSON)
