"""GET /curation, /whatif: what the policy keeps, and what another policy would keep.

They read the tables of the pipeline and corpus.yaml, and write nothing. They need the packages of
the extra `pipelines`.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import StringConstraints, TypeAdapter

from orchestration.server import openapi
from orchestration.server.service import Service
from store.errors import MissingPackageError
from store.search.wire import JSON
from store.workspace import Workspace

T = TypeVar("T")
_MOST_SETTINGS = 50
# Limits of signals alone: other parts of a policy can name files.
_LIMIT = r"^[a-z0-9_]{1,60}\.(min|max)=[-+0-9.e]{0,30}$"
Settings = Annotated[
    list[Annotated[str, StringConstraints(pattern=_LIMIT)]],
    Query(
        alias="set",
        max_length=_MOST_SETTINGS,
        default_factory=list,
        description="A change such as `image_min_side.min=256`. No value removes the limit.",
    ),
]
router = APIRouter(tags=["curation"])


@router.get(
    "/curation",
    summary="The curation",
    response_class=Response,
    responses=openapi.CURATION_RESPONSES,
)
async def curation(request: Request) -> Response:
    """Problems, errors first, with the key of an example each; charts of the signals; policy."""
    return await _read(request, lambda overview, workspace: overview.overview(workspace))


@router.get(
    "/whatif",
    summary="Another policy",
    response_class=Response,
    responses=openapi.WHATIF_RESPONSES,
)
async def whatif(request: Request, settings: Settings) -> Response:
    """What another policy would keep, by rule, and this policy as YAML. No model runs."""
    return await _read(request, lambda overview, w: overview.alternative(w, settings))


async def _read(request: Request, read: Callable[[Any, Workspace], T]) -> Response:
    service: Service = request.app.state.service

    def run() -> bytes:
        try:
            from pipelines.reports.curation import overview
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                f"the server lacks the package {error.name}: pip install 'isotrope[pipelines]'"
            ) from error
        result = read(overview, service.workspace())
        return TypeAdapter(type(result)).dump_json(result)

    async with service.admit() as place:
        return Response(await place.run(run), media_type=JSON)
