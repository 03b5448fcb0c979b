"""Pictures for Dagster's page beyond those of `pipelines.pictures`: plain values in, PNG out."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.pictures import FAILED, KEPT, REJECTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"in": "#3d5a80", "kept": KEPT, "rejected": REJECTED, "failed": FAILED}
_TILE = 96


def fates(bars: Sequence[tuple[str, int, str]]) -> bytes:
    """What became of records: (rule, how many, "in", "kept", "rejected" or "failed")."""
    figure = _figure(8, 0.7 + 0.42 * len(bars))
    axes = figure.subplots()
    labels, counts, outcomes = zip(*bars, strict=True)
    colours = [_COLOURS[outcome] for outcome in outcomes]
    drawn = axes.barh(range(len(bars)), counts, color=colours)
    axes.set_yticks(range(len(bars)), labels)
    axes.bar_label(drawn, labels=[f"{count:,}" for count in counts], padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    return _png(figure)


def similarities(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """For each pair of modalities, cosines of samples' own pairs and of shuffled ones."""
    figure = _figure(5.0 * len(panels), 2.8)
    for axes, (name, (own, shuffled)) in zip(
        figure.subplots(1, len(panels), squeeze=False).ravel(), panels.items(), strict=True
    ):
        edges = np.histogram_bin_edges(np.concatenate([own, shuffled]), bins=40)
        axes.hist(shuffled, edges, color=REJECTED, alpha=0.7, label="shuffled", density=True)
        axes.hist(own, edges, color=KEPT, alpha=0.7, label="of one sample", density=True)
        axes.set_title(f"{name}: cosine", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.yaxis.set_visible(False)
    return _png(figure)


def contact_sheet(thumbnails: Sequence[bytes], columns: int = 12) -> bytes:
    """Thumbnails side by side."""
    from PIL import Image

    rows = -(-len(thumbnails) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * _TILE), "white")
    for place, encoded in enumerate(thumbnails):
        with Image.open(io.BytesIO(encoded)) as opened:
            shown = opened.convert("RGB")
        shown.thumbnail((_TILE - 8, _TILE - 8))
        across, down = place % columns * _TILE, place // columns * _TILE
        sheet.paste(shown, (across + (_TILE - shown.width) // 2, down + 4))
    return _encoded(sheet)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
