"""POST /search: runs a query. POST /explain, /plan, /suggest: explain a row of its answer, or the
query, or suggest other queries."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from orchestration.server import openapi
from orchestration.server.service import Service
from orchestration.server.uploads import read_body, read_query
from store.errors import NotFoundError
from store.search.explanation import Explanation
from store.search.plan import Plan
from store.search.query import Query as SearchQuery
from store.search.suggest import MAX_COUNT
from store.search.suggestion import Suggestion
from store.search.wire import ARROW, JSON, write_arrow, write_json

T = TypeVar("T")
_EXPLANATION = TypeAdapter(Explanation)
_PLAN = TypeAdapter(Plan)
_SUGGESTIONS = TypeAdapter(list[Suggestion])
router = APIRouter(tags=["search"])


@router.post(
    "/search",
    summary="Search",
    response_class=Response,
    responses=openapi.SEARCH_RESPONSES,
    openapi_extra=openapi.SEARCH_BODY,
)
async def search(request: Request) -> Response:
    """Run a query. The answer is JSON, or an Arrow IPC stream where the request accepts it."""
    service: Service = request.app.state.service
    arrow = ARROW in request.headers.get("accept", "")
    write = write_arrow if arrow else write_json
    content = await _with_query(request, lambda query: write(service.answer(query)))
    return Response(content, media_type=ARROW if arrow else JSON)


@router.post(
    "/explain",
    summary="Explain a row of an answer",
    response_class=Response,
    responses=openapi.EXPLAIN_RESPONSES,
    openapi_extra=openapi.SEARCH_BODY,
)
async def explain(
    request: Request,
    row: Annotated[int, Query(ge=0, le=9_999, description="The row of the answer, from 0.")] = 0,
) -> Response:
    """Run a query and explain the rank of one row: raw score and rank, bias, neighbours."""
    service: Service = request.app.state.service

    def work(query: SearchQuery) -> bytes:
        result = service.answer(query).result
        if row >= result.rows.num_rows:
            raise NotFoundError(f"the answer has {result.rows.num_rows} rows, and no row {row}")
        return _EXPLANATION.dump_json(result.explain(row))

    return Response(await _with_query(request, work), media_type=JSON)


@router.post(
    "/plan",
    summary="Explain a query without running it",
    response_class=Response,
    responses=openapi.PLAN_RESPONSES,
    openapi_extra=openapi.SEARCH_BODY,
)
async def plan(request: Request) -> Response:
    """What a query will do: galleries, corrections, index or scan and why, the measured recall."""
    service: Service = request.app.state.service
    content = await _with_query(request, lambda query: _PLAN.dump_json(service.corpus.plan(query)))
    return Response(content, media_type=JSON)


@router.post(
    "/suggest",
    summary="Suggest changes of a query's text",
    response_class=Response,
    responses=openapi.SUGGEST_RESPONSES,
    openapi_extra=openapi.SEARCH_BODY,
)
async def suggest(
    request: Request,
    count: Annotated[int, Query(ge=1, le=MAX_COUNT, description="The most suggestions.")] = 5,
) -> Response:
    """Cluster the best 200 results, and change the text so that it finds each cluster."""
    service: Service = request.app.state.service

    def work(query: SearchQuery) -> bytes:
        return _SUGGESTIONS.dump_json(service.corpus.suggest(replace(query, seconds=None), count))

    return Response(await _with_query(request, work), media_type=JSON)


async def _with_query(request: Request, work: Callable[[SearchQuery], T]) -> T:
    """Read the query of a request, and run `work` on it in a thread, in the request's turn."""
    service: Service = request.app.state.service
    async with service.admit() as place:
        body = await read_body(request, service.settings.json_bytes)

        def run() -> T:
            query = read_query(body, service.settings.image_pixels)
            if query.seconds is not None:
                place.shorten(query.seconds)
            return work(query)

        return await place.run(run)
