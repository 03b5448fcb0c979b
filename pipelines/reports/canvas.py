"""Figures without data: colours, an empty canvas, and a finished figure as PNG or inline SVG.

Matplotlib is imported when something is drawn, since it takes half a second.
"""

import io
import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KEPT, REJECTED, FAILED = "#2a9d8f", "#e9a03b", "#d1495b"
INCHES = 4.7  # width of a figure: narrow enough to be read on a phone
LETTER_INCHES = 0.074  # width of a letter at 9 points
_DPI = 180
_POINTS = 72  # per inch; the unit of an SVG of Matplotlib


class Ink(NamedTuple):
    """Colours of text, lines and background, for light or dark pages."""

    text: str
    line: str
    paper: str

    @classmethod
    def of(cls, dark: bool) -> "Ink":
        return cls("#c9ced6", "#3a4049", "#15181c") if dark else cls("#3c434d", "#d5d9df", "white")


# In an SVG inside a page, the page's style sheet decides: see templates/style.css.j2.
_PAGE_COLOURS = {
    KEPT: "var(--kept)",
    REJECTED: "var(--lost)",
    FAILED: "var(--broken)",
    Ink.of(dark=False).text: "var(--soft)",
}


def canvas(
    height: float, ink: Ink, panels: int = 1, across: int = 1
) -> "tuple[Figure, list[Axes]]":
    """An empty figure with `panels` rows of `across` axes, listed row by row.

    Args:
        height: of the figure in inches.
        ink: colours of the figure.
    """
    from matplotlib.figure import Figure

    size = (INCHES * (1 if across == 1 else 0.55 * across), height)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor=ink.paper)
    drawn = figure.subplots(panels, across, squeeze=False).ravel().tolist()
    for axes in drawn:
        axes.set_facecolor(ink.paper)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(ink.line)
        axes.tick_params(which="both", color=ink.line, labelcolor=ink.text, labelsize=9)
    return figure, drawn


def bare_canvas(width: float, height: float, above: float) -> "tuple[Figure, Axes]":
    """A figure for `svg` with axes without spines and ticks.

    Args:
        width: of figure and axes, in points.
        height: of the axes, in points.
        above: room above the axes, in points. Matplotlib cuts off lines outside of a figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _POINTS, (height + above) / _POINTS), dpi=_POINTS)
    axes = figure.add_axes((0, 0, 1, height / (height + above)))
    axes.set_axis_off()
    return figure, axes


def png(figure: "Figure") -> bytes:
    """A finished figure as PNG."""
    from PIL import Image

    small = io.BytesIO()
    # 64 colours look the same for flat areas and their edges, and take a third of the bytes.
    image = Image.open(io.BytesIO(_saved(figure, "png"))).convert("RGB")
    image.quantize(64).save(small, "png", optimize=True)
    return small.getvalue()


def svg(figure: "Figure") -> str:
    """The paths and texts of a finished figure, for an `<svg>` in a page of HTML.

    Colours are variables of the page's style sheet, so that the page is light or dark; the font is
    the page's, too.
    """
    from xml.etree import ElementTree

    figure.patch.set_visible(False)
    drawn = []
    for element in ElementTree.fromstring(_saved(figure, "svg")).iter():
        element.tag, element.tail = element.tag.rpartition("}")[2], None
        if element.tag in ("path", "text"):
            for name, value in element.items():
                element.set(name, _page_style(value) if name == "style" else _rounded(value))
            element.attrib.pop("transform", None)  # of a text: a rotation by 0 degrees
            drawn.append(ElementTree.tostring(element, "unicode"))
    return "".join(drawn)


def _saved(figure: "Figure", form: str) -> bytes:
    from matplotlib import rc_context

    drawn = io.BytesIO()
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none"}):
        # A PNG shows a box for a letter that its font lacks; an SVG has the page's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(drawn, format=form)
    return drawn.getvalue()


def _rounded(text: str) -> str:
    """Coordinates to one decimal, with single spaces between."""
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", text)
    return re.sub(r"\s+", " ", numbers).strip()


def _page_style(style: str) -> str:
    for colour, variable in _PAGE_COLOURS.items():
        style = style.replace(colour, variable)
    return re.sub(r"font-(size|family): [^;]*;? ?", "", style)


def full_number(value: float, _: object = None) -> str:
    """A number of an axis, written out: 12,000. The second argument is Matplotlib's position."""
    return f"{value:,.0f}"


def short_number(value: float) -> str:
    """A number in few letters: 0.25, 1,200, 3.4M."""
    return _short(value).replace("-", "−")


def _short(value: float) -> str:
    size = abs(value)
    for power, letter in ((1e9, "G"), (1e6, "M")):
        if size >= power:
            return f"{value / power:.3g}{letter}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size >= 1e-3 or not size else f"{value:.0e}"
