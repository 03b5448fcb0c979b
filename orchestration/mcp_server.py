"""A corpus as a read-only MCP server on stdin and stdout (`isotrope mcp`).

An assistant that speaks the Model Context Protocol can then search the corpus and look at samples.
"""

import base64
import binascii
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

import isotrope
from store.errors import InputError, IsotropeError
from store.search.asynchronous import AsyncCorpus
from store.search.query import Query
from store.search.query_json import QueryJson
from store.search.release_json import describe
from store.search.remote_async import AsyncRemoteCorpus
from store.search.wire import Answer, answer_values

_MAX_ROWS = 100  # an assistant reads every row
_READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_INSTRUCTIONS = """\
Searches one corpus of images, texts and recordings. Start with `release`, which says what can be
searched and which columns rows have. `search` finds items by text, image or recording. `sample` and
`thumbnail` show one item."""
_Text = Annotated[str | None, Field(description="A text to search with.")]
_Image = Annotated[str | None, Field(description="An image to search with, a file in base64.")]
_Audio = Annotated[str | None, Field(description="A recording to search with, a file in base64.")]
_Among = Annotated[str, Field(description="What to find: image, text, audio, any or sample.")]
_Where = Annotated[
    str | None, Field(description="An SQL condition on columns, such as image_width >= 256.")
]
_Columns = Annotated[list[str] | None, Field(description="The columns of rows to return.")]
_Correct = Annotated[str, Field(description="The hubness correction: auto, none or a method.")]
_Hybrid = Annotated[str | None, Field(description="Words to look for in captions too.")]
_Query = Annotated[
    QueryJson | None,
    Field(
        description=(
            "A whole query in the place of the other arguments: several inputs with weights, a"
            " compound query, hybrid search, and all options."
        )
    ),
]
_Limit = Annotated[int, Field(ge=1, le=_MAX_ROWS, description="The most rows.")]


def serve_stdio(path: str, space: str | None = None) -> None:
    """Serve until stdin ends.

    Args:
        path: of the corpus, or the address of a server.
        space: search the newest release of this space.
    """
    make_server(isotrope.connect_async(path, space=space)).run("stdio")


def make_server(corpus: AsyncCorpus | AsyncRemoteCorpus) -> MCPServer:
    """Build the server with its four tools."""
    server = MCPServer("isotrope", instructions=_INSTRUCTIONS, version=isotrope.__version__)

    @server.tool(title="Search the corpus", annotations=_READ_ONLY)
    async def search(
        text: _Text = None,
        image: _Image = None,
        audio: _Audio = None,
        among: _Among = "image",
        where: _Where = None,
        select: _Columns = None,
        correct: _Correct = "auto",
        limit: _Limit = 10,
        hybrid: _Hybrid = None,
        query: _Query = None,
    ) -> dict[str, Any]:
        """Find items by a text, an image, a recording, or a mix of them, best first."""
        try:
            if query is not None:
                if any((text, image, audio, where, select, hybrid)) or query.limit > _MAX_ROWS:
                    raise InputError(f"query stands alone, with a limit of up to {_MAX_ROWS} rows")
                wanted = Query.from_model(query)
            else:
                wanted = Query.of(text, _decoded(image), _decoded(audio))
                wanted = wanted.among(among).correct(correct).limit(limit)
                wanted = wanted.select(*(select or ("key", "caption", "part_id")))
                wanted = wanted.where(where) if where else wanted
                wanted = wanted if hybrid is None else wanted.hybrid(hybrid)
            result = await corpus.run(wanted)
            release = await corpus.release()
        except IsotropeError as error:
            raise ToolError(str(error)) from error
        return answer_values(Answer(result, release.number))

    @server.tool(title="Show a sample", annotations=_READ_ONLY)
    async def sample(id: str) -> dict[str, Any]:
        """The facts about a sample: key, source, text, sizes, metadata. `id` is that of a row."""
        try:
            return await corpus.sample(id)
        except IsotropeError as error:
            raise ToolError(str(error)) from error

    @server.tool(title="Show an image", annotations=_READ_ONLY)
    async def thumbnail(part_id: str) -> Image:
        """A small version of an image. `part_id` is a column of the rows of `search`."""
        try:
            return Image(data=await corpus.thumbnail(part_id), format="jpeg")
        except IsotropeError as error:
            raise ToolError(str(error)) from error

    @server.tool(title="Describe the corpus", annotations=_READ_ONLY)
    async def release() -> dict[str, Any]:
        """What can be searched: galleries, their columns, corrections, and measured figures."""
        try:
            current = await corpus.release()
            return {**describe(current), "modalities": current.modalities}
        except IsotropeError as error:
            raise ToolError(str(error)) from error

    return server


def _decoded(media: str | None) -> bytes | None:
    """A file from base64. Paths are refused: a model must not choose which files are read."""
    try:
        return None if media is None else base64.b64decode(media, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"not base64: {error}") from None
