"""The program of a child process that parses one PDF with PDFium (see `isolated`).

It lists the pages, or draws those that it is asked for. A request has the `file`, the number of the
`first` message to give, and:

- to list: `task` "list", `figures` (whether to look for them) and `pages` (how many at most).
  Message 0 has the number of `pages`; message n says what `page` n, counted from 1, has: the number
  of its figures, None where it cannot be loaded.
- to read: `task` "read", `places` (page and figure; figure 0 is the page itself), `dpi` and
  `longest_side`. Each place has a message with its `text`, and a PNG.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pypdfium2.raw as pdfium

from pipelines.sources.documents.page import open_page
from pipelines.sources.isolated.child import Message, failed, fatal, serve

_ERRORS = {
    pdfium.FPDF_ERR_PASSWORD: ("pdf.encrypted", "it needs a password; store it without one"),
    pdfium.FPDF_ERR_SECURITY: ("pdf.encrypted", "its encryption is not supported"),
    pdfium.FPDF_ERR_FORMAT: ("pdf.broken", "it is not a PDF, or damaged beyond repair"),
    pdfium.FPDF_ERR_FILE: ("pdf.unreadable", "it cannot be read"),
}


def run(request: dict[str, Any]) -> Iterator[Message]:
    """The messages of a request."""
    pdfium.FPDF_InitLibrary()
    document = pdfium.FPDF_LoadDocument(request["file"].encode() + b"\0", None)
    if not document:
        number = pdfium.FPDF_GetLastError()
        yield fatal(*_ERRORS.get(number, ("pdf.broken", f"PDFium's error {number}")))
        return
    if request["task"] == "list":
        yield from _list(document, request)
    else:
        yield from _read(document, request)


def _list(document: object, request: dict[str, Any]) -> Iterator[Message]:
    pages = pdfium.FPDF_GetPageCount(document)
    if request["first"] == 0:
        yield {"pages": pages}, []
    for number in range(max(request["first"], 1), min(pages, request["pages"]) + 1):
        with open_page(document, number - 1) as page:
            if page is None:
                yield {"figures": None}, []
            else:
                yield {"figures": len(page.figures) if request["figures"] else 0}, []


def _read(document: object, request: dict[str, Any]) -> Iterator[Message]:
    places = request["places"][request["first"] :]
    for number, group in groupby(places, lambda place: place[0]):
        with open_page(document, number - 1) as page:
            for _, figure in group:
                if page is None:
                    yield failed("pdf.page", "the page cannot be loaded")
                elif figure > len(page.figures):
                    yield failed("pdf.figure", f"the page has only {len(page.figures)} figures now")
                else:
                    text, box = page.figures[figure - 1] if figure else (page.text, None)
                    yield {"text": text}, [page.png(request["dpi"], request["longest_side"], box)]


if __name__ == "__main__":
    serve(run, "pdf")
