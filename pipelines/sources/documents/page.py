"""One page of a PDF in PDFium: its text, its captions, its pictures, and images of parts of it.

Only a child process imports this module: PDFium may crash, and must not be used by two threads.
"""

import ctypes
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import pypdfium2.raw as pdfium
from PIL import Image

from pipelines.sources.documents.drawings import drawings
from pipelines.sources.documents.figures import CAPTION, SMALLEST, Box, figures, with_labels

_POINTS_PER_INCH = 72
_UNITS = 8  # device units per point, in which positions are computed: PDFium rounds to integers
_MOST_CHARACTERS = 1 << 20  # of a page
_MOST_OBJECTS = 20_000  # of a page that are looked at; a plot may have thousands
_MOST_PICTURES = 100  # of a page that are looked at: those that are no icons
_MOST_CAPTIONS, _MOST_LINES = 50, 40  # of a page, of a caption
_LONGEST_LABEL, _MOST_LABELS = 40, 500  # characters; of a page
_LINE_GAP = 1.2  # between the lines of a caption, in heights of a line
_WIDEST_PAGE = 0.9  # share of a page that a picture may cover; a scan covers all of it
_PICTURES = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM)
_PATHS = (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING)
_HYPHENS = "\x02\ufffe"  # PDFium's marks of a hyphen at the end of a line
_FLAGS = pdfium.FPDF_ANNOT


class Page:
    """A page that is loaded.

    Attributes:
        width: in points, as it is shown.
        height: in points, as it is shown.
    """

    def __init__(self, handle: object, text: object):
        self._page, self._text = handle, text
        self.width = max(1.0, pdfium.FPDF_GetPageWidthF(handle))
        self.height = max(1.0, pdfium.FPDF_GetPageHeightF(handle))
        count = min(pdfium.FPDFText_CountChars(text), _MOST_CHARACTERS) if text else 0
        self._characters = [chr(pdfium.FPDFText_GetUnicode(text, i)) for i in range(count)]

    @property
    def text(self) -> str:
        """What stands on the page, in the order of the file."""
        return _clean("".join(self._characters).replace("\r\n", "\n"))

    @cached_property
    def figures(self) -> list[tuple[str, Box]]:
        """Caption and place of each figure that has a caption."""
        captions = list(self._captions())
        if not captions:
            return []
        places = [box for _, box in captions]
        pictures, paths = self._objects()
        pictures += drawings(paths, self.width, self.height)
        pictures = [p for p in pictures if p.shorter_side >= SMALLEST][:_MOST_PICTURES]
        labels = self._labels(places) if pictures else []
        boxes = figures(places, [with_labels(p, labels, places) for p in pictures])
        return [(t, box) for (t, _), box in zip(captions, boxes, strict=True) if box is not None]

    def png(self, dpi: float, longest_side: int, box: Box | None = None) -> bytes:
        """Draw the page, or a part of it, on white.

        Args:
            dpi: pixels per inch, less where the picture would be larger.
            longest_side: of the picture, in pixels.
            box: the part, in points from the upper left corner.

        Raises:
            MemoryError: there is no memory for the picture.
        """
        box = box or Box(0, 0, self.width, self.height)
        longest = max(box.right - box.left, box.bottom - box.top)
        scale = min(dpi / _POINTS_PER_INCH, longest_side / longest)
        width = max(1, round((box.right - box.left) * scale))
        height = max(1, round((box.bottom - box.top) * scale))
        bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGRx, None, 0)
        if not bitmap:
            raise MemoryError
        try:
            pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
            whole = [max(1, round(side * scale)) for side in (self.width, self.height)]
            start = [-round(box.left * scale), -round(box.top * scale)]
            pdfium.FPDF_RenderPageBitmap(bitmap, self._page, *start, *whole, 0, _FLAGS)
            stride = pdfium.FPDFBitmap_GetStride(bitmap)
            pixels = ctypes.string_at(pdfium.FPDFBitmap_GetBuffer(bitmap), stride * height)
        finally:
            pdfium.FPDFBitmap_Destroy(bitmap)
        image = Image.frombytes("RGB", (width, height), pixels, "raw", "BGRX", stride)
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=4)
        return out.getvalue()

    def _captions(self) -> Iterator[tuple[str, Box]]:
        """The captions of the page, and where they stand."""
        lines = list(self._lines())
        starts = [i for i, (a, b) in enumerate(lines) if CAPTION.match(self._words(a, b))]
        for start in starts[:_MOST_CAPTIONS]:
            box = self._line_box(*lines[start])
            if box is None:
                continue
            words, height = [self._words(*lines[start])], box.bottom - box.top
            last = box
            for number in range(start + 1, min(start + _MOST_LINES, len(lines))):
                line = self._line_box(*lines[number])
                if line is None:
                    continue
                gap = line.top - last.bottom
                is_next = -height < gap <= _LINE_GAP * height and line.top > last.top
                if (
                    number in starts
                    or not is_next
                    or line.right < box.left
                    or line.left > box.right
                ):
                    break
                words.append(self._words(*lines[number]))
                last, box = line, box.union(line)
            yield _joined(words), box

    def _labels(self, captions: Sequence[Box]) -> list[Box]:
        """The short lines of text that are in no caption."""
        short = [line for line in self._lines() if line[1] - line[0] <= _LONGEST_LABEL]
        boxes = [self._line_box(*line) for line in short[:_MOST_LABELS]]
        return [b for b in boxes if b is not None and not any(b.overlaps(c) for c in captions)]

    def _lines(self) -> Iterator[tuple[int, int]]:
        """The lines of the text: their first character, and the one after their last."""
        start = 0
        for index, character in enumerate([*self._characters, "\n"]):
            if character in "\r\n":
                if index > start:
                    yield start, index
                start = index + 1

    def _words(self, start: int, stop: int) -> str:
        return "".join(self._characters[start:stop])

    def _line_box(self, start: int, stop: int) -> Box | None:
        """Where some characters stand; None if they are not drawn."""
        box: Box | None = None
        corners = [ctypes.c_double() for _ in range(4)]
        for index in range(pdfium.FPDFText_CountRects(self._text, start, stop - start)):
            if pdfium.FPDFText_GetRect(self._text, index, *corners):
                left, top, right, bottom = (corner.value for corner in corners)
                rectangle = self._shown(left, bottom, right, top)
                box = rectangle if box is None else box.union(rectangle)
        return box

    def _objects(self) -> tuple[list[Box], list[Box]]:
        """Pictures and paths on the page, apart from those that cover it."""
        pictures: list[Box] = []
        paths: list[Box] = []
        corners = [ctypes.c_float() for _ in range(4)]
        for index in range(min(pdfium.FPDFPage_CountObjects(self._page), _MOST_OBJECTS)):
            item = pdfium.FPDFPage_GetObject(self._page, index)
            kind = pdfium.FPDFPageObj_GetType(item)
            if kind not in (*_PICTURES, *_PATHS) or not pdfium.FPDFPageObj_GetBounds(
                item, *corners
            ):
                continue
            box = self._shown(*(corner.value for corner in corners))
            box = Box(
                max(box.left, 0.0),
                max(box.top, 0.0),
                min(box.right, self.width),
                min(box.bottom, self.height),
            )
            if box.right < box.left or box.bottom < box.top:
                continue  # off the page
            area = (box.right - box.left) * (box.bottom - box.top)
            if area <= _WIDEST_PAGE * self.width * self.height:
                (pictures if kind in _PICTURES else paths).append(box)
        return pictures, paths

    def _shown(self, left: float, bottom: float, right: float, top: float) -> Box:
        """A rectangle of the page's own coordinates, as it is shown: turned, with y downwards."""
        size = (round(self.width * _UNITS), round(self.height * _UNITS))
        x, y = ctypes.c_int(), ctypes.c_int()
        points = []
        for corner in ((left, bottom), (right, top)):
            pdfium.FPDF_PageToDevice(self._page, 0, 0, *size, 0, *corner, x, y)
            points.append((x.value / _UNITS, y.value / _UNITS))
        (x0, y0), (x1, y1) = points
        return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


@contextmanager
def open_page(document: object, number: int) -> Iterator[Page | None]:
    """Load a page; None where it cannot be loaded.

    Args:
        document: PDFium's handle.
        number: of the page, from 0 on.
    """
    page = pdfium.FPDF_LoadPage(document, number)
    if not page:
        yield None
        return
    text = pdfium.FPDFText_LoadPage(page)
    try:
        yield Page(page, text)
    finally:
        if text:
            pdfium.FPDFText_ClosePage(text)
        pdfium.FPDF_ClosePage(page)


def _joined(lines: list[str]) -> str:
    """The lines of a caption as one; a word that a hyphen breaks is put together."""
    text = ""
    for line in map(str.strip, lines):
        if text[-1:] and text[-1] in _HYPHENS:
            text = text[:-1] + line
        else:
            text = f"{text} {line}".strip()
    return _clean(text)


def _clean(text: str) -> str:
    """Text without characters that stand for no character; broken surrogate pairs are replaced."""
    for mark in _HYPHENS:
        text = text.replace(mark, "-")
    text = "".join(c for c in text if c >= " " or c in "\n\t")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
