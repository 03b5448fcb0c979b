"""Serves the explorer, the web page of a corpus, at /explorer/: static files of the package.

They need no key: they hold nothing of the corpus. The page sends the key with its requests.
"""

import mimetypes
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from store.errors import NotFoundError

ADDRESS = "/explorer/"
BUILT = Path(__file__).parents[1] / "explorer" / "built"
_INDEX = "index.html"
_HEADERS = {
    # Pictures and recordings are fetched with the key, and shown from object addresses (blob:).
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cache-Control": "no-cache",  # asks whether the page has changed
}
# Names of assets have a hash of the content.
_FOREVER = {**_HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}


def explorer_routes(folder: Path = BUILT) -> APIRouter:
    """The routes of the page. They are no part of the API, so OpenAPI does not describe them.

    Args:
        folder: of the built page. All its files are read now.
    """
    router = APIRouter(include_in_schema=False)
    files = _read_files(folder)

    @router.get("/")
    async def to_explorer() -> RedirectResponse:
        return RedirectResponse(ADDRESS)

    @router.get(ADDRESS + "{name:path}")
    async def built_file(name: str) -> Response:
        if (content := files.get(name or _INDEX)) is None:
            raise NotFoundError("the explorer has no such file")
        headers = _FOREVER if name.startswith("assets/") else _HEADERS
        media_type = mimetypes.guess_type(name or _INDEX)[0]
        return Response(content, media_type=media_type, headers=dict(headers))

    return router


def _read_files(folder: Path) -> Mapping[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
