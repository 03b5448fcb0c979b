"""Writes docs/local.md: the training data of the local space's heads, and their evaluation."""

from collections.abc import Mapping
from typing import Any

from embedders.local.shared import DIM, MEANING_SHARE
from pipelines.local_heads.evaluate import Row

_INTRO = """\
# The local space

`make heads` writes this page. The space needs no model hub, only packages: all-MiniLM-L6-v2,
EfficientNet-Lite0 and 2, and three linear heads of a few megabytes that come with isotrope. A
vector has {dim} dimensions in two halves: meaning (384 dimensions; for images by ConSE, from the
names of the ImageNet classes that a classifier predicts) and a learned half. A cosine is
{share:.0%} the first and {rest:.0%} the second. For recordings, one head maps the features that
EfficientNet-Lite0 computes of a log-mel spectrogram into both halves.

## Training data

{data}

{held} of the {all} stamps are held out: about half of them, chosen by a hash of their keys. Similar
stamps (equal captions, names that differ in a number, nearly equal images) are always on one side.
Drawings of the other collections that are nearly the same as a held-out stamp are left out. The
method (ridge regression onto partly whitened text) and its parameters were chosen by
cross-validation within the training half. The training half has {recordings} recordings.

**The demonstration corpus contains the stamps of the training half too**, so its figures are better
than those of images that were not trained on. The figures on this page are of held-out stamps.

## Text and images

Queries are the held-out captions, the gallery is all {held} held-out images, and the other way
round. The stamp's own item is the only right answer. In the last two rows, all items with an equal
caption are right answers.

"""

_AUDIO = """\

## Recordings

Held-out recordings search all held-out texts or images, and the other way round. All items with an
equal caption are right answers. Nearly all speech names a letter or a number, and the training half
has other stamps of letters and numbers; sounds are of animals and machines.

"""

_ABLATION = """\

## By training data

R@10 of both halves, with the own item as the only right answer; the head alone in brackets.

"""

_HEADER = "| | queries | gallery | R@1 | R@5 | R@10 | chance of R@10 | median rank |\n" + (
    "|---" * 8 + "|\n"
)
_COLLECTIONS = {
    "stamps": "stamps of Tux Paint (GPL-2) with English captions, each with three times the weight",
    "openmoji": "drawings of OpenMoji (CC BY-SA 4.0) with the names and keywords of Unicode's CLDR",
    "openclipart": "drawings of Open Clip Art (public domain) with their titles and keywords",
    "glyphs": "letters and digits of four fonts, none of them the font of the stamps' own letters",
}
_DIRECTIONS = ("text->image", "image->text")
_METHODS = {
    "conse": "ConSE alone",
    "head": "head alone",
    "both": "both",
    "equal captions": "both, equal captions right",
}


def page(
    figures: Mapping[str, Row], ablation: Mapping[str, Mapping[str, Row]], meta: Mapping[str, Any]
) -> str:
    """The page as Markdown.

    Args:
        figures: the figures of the heads trained on everything, by name.
        ablation: the same figures by training data.
        meta: the metadata of the heads.
    """
    data = "\n".join(
        f"- {count:,} {_COLLECTIONS[name]} ({meta['data'][name]})"
        for name, count in meta["drawings"].items()
    )
    held = meta["held_out"]
    text = _INTRO.format(
        dim=DIM,
        share=MEANING_SHARE,
        rest=1 - MEANING_SHARE,
        data=data,
        held=held,
        all=held + meta["drawings"]["stamps"],
        recordings=meta["recordings"],
    )
    lines = [
        _line(f"{direction.replace('->', ' to ')}, {label}", figures[f"{method} {direction}"])
        for method, label in _METHODS.items()
        for direction in _DIRECTIONS
    ]
    audio = [_line(n.replace("->", " to "), row) for n, row in figures.items() if " " not in n]
    parts = [text, _HEADER, *lines, _AUDIO, _HEADER, *audio, _ABLATION, *_ablation_lines(ablation)]
    return "".join(parts)


def _line(name: str, row: Row) -> str:
    figures = row.figures
    recalls = [f"{figures[f'r@{k}']:.3f}" for k in (1, 5, 10)]
    cells = [name, row.queries, row.gallery, *recalls, f"{row.chance:.3f}"]
    return f"| {' | '.join(map(str, cells))} | {figures['median_rank']:g} |\n"


def _ablation_lines(ablation: Mapping[str, Mapping[str, Row]]) -> list[str]:
    lines = ["| trained on | text to image | image to text |\n|---|---|---|\n"]
    for name, rows in ablation.items():
        cells = [
            f"{rows[f'both {direction}'].figures['r@10']:.3f}"
            f" ({rows[f'head {direction}'].figures['r@10']:.3f})"
            for direction in _DIRECTIONS
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |\n")
    return lines
