"""Lists and reads PDF documents: each page is a record, and each figure with a caption.

A page's record has the picture of the page and its text. A figure's record has the picture of that
part of the page and its caption. Their `meta` says what document and page they are of.
"""

import json
from collections.abc import Iterator

from pipelines.sources import planned as plans
from pipelines.sources.documents.figures import CAPTION
from pipelines.sources.isolated.parent import Program, parse
from pipelines.sources.isolated.pipe import Message
from pipelines.sources.records import BadRecord, Planned, Record, Unit, printable
from store.config.limits import Limits
from store.config.sources import Documents
from store.errors import RecordError

count = plans.count
_RULE = "pdf"


def plan(root: str, path: str, options: Documents) -> list[Planned]:
    """List the records of a document: those of each page, in order, and those that cannot be read.

    A page at which the parser dies or stalls now is not read later.

    Neighbouring pages that cannot be loaded are one record, so that a damaged document of a million
    pages does not fill the ledger. So are the pages after the first `options.pages`.
    """
    request = {"task": "list", "figures": options.figures, "pages": options.pages}
    items = parse(_program(options), root, path, request)
    head = next(items)
    if isinstance(head, RecordError):
        return [Planned(path, printable(path), error=head)]
    pages = int(head.fields["pages"])
    if pages <= 0:
        error = RecordError("pdf.empty", "the document has no pages")
        return [Planned(path, printable(path), error=error)]
    records: list[Planned] = []
    lost: list[int] = []
    item: Message | RecordError = head
    for number in range(1, min(pages, options.pages) + 1):
        item = next(items, item)  # after the last item, which is an error, there is no time left
        if isinstance(item, Message) and item.fields["figures"] is None:
            lost.append(number)
            continue
        records += [*_lost(path, lost), *_of_page(path, number, item)]
        lost = []
    records += _lost(path, lost)
    if pages > options.pages:
        message = f"the document has {pages} pages, at most {options.pages} are read"
        over = RecordError("pdf.pages", message, value=pages, threshold=options.pages)
        records.append(_pages(path, options.pages + 1, pages, over))
    return records


def read(unit: Unit, limits: Limits) -> Iterator[Record | BadRecord]:
    """Read the records of a unit's documents."""
    options = unit.documents or Documents()
    request = {"task": "read", "dpi": options.dpi, "longest_side": options.longest_side}
    return plans.read(unit, _program(options), request, _record)


def _record(planned: Planned, message: Message) -> Record:
    page, figure = planned.place
    text = str(message.fields["text"])
    meta: dict[str, object] = {"document": printable(planned.path), "page": page}
    if figure:
        meta["figure"] = figure
        if match := CAPTION.match(text):
            meta["label"] = match["label"].strip()
    return Record(
        source=printable(planned.path),
        key=planned.key,
        image=message.blobs[0],
        image_name=planned.key,
        text=text.encode(),
        meta=json.dumps(meta, ensure_ascii=False).encode(),
    )


def _program(options: Documents) -> Program:
    module = "pipelines.sources.documents.child"
    return Program(module, _RULE, options.bytes, options.page_seconds, options.seconds)


def _of_page(path: str, number: int, item: Message | RecordError) -> Iterator[Planned]:
    """The records of a page: the page itself, and its figures. Only one if its parser failed."""
    key = f"{path}#page={number}"
    if isinstance(item, RecordError):
        yield Planned(path, printable(key), error=item)
        return
    yield Planned(path, printable(key), (number, 0))
    for figure in range(1, int(item.fields["figures"]) + 1):
        yield Planned(path, printable(f"{key}&figure={figure}"), (number, figure))


def _lost(path: str, numbers: list[int]) -> list[Planned]:
    if not numbers:
        return []
    error = RecordError("pdf.page", f"{len(numbers)} pages cannot be loaded")
    return [_pages(path, numbers[0], numbers[-1], error)]


def _pages(path: str, first: int, last: int, error: RecordError) -> Planned:
    span = f"{first}" if first == last else f"{first}-{last}"
    return Planned(path, printable(f"{path}#page={span}"), error=error)
