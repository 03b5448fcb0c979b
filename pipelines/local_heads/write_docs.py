"""docs/local.md: what the local space was learned from and how well it does."""

from collections.abc import Mapping
from typing import Any

from embedders.local.shared import DIM, SHARE
from pipelines.local_heads.evaluate import Row

_INTRO = """\
# The local space

`make heads` writes this page. The space needs nothing but packages: all-MiniLM-L6-v2,
EfficientNet-Lite0 and 2, and three linear heads of a few megabytes that come with isotrope. A
vector has {dim} dimensions: a half of meaning (384; pictures by ConSE, the names of the ImageNet
classes that they look like) and a learned half. A cosine is {share:.0%} the first and {rest:.0%}
the second. Recordings are log-mel spectrograms seen by EfficientNet-Lite0, placed in both halves
by one head.

## What the heads learned from

{data}

{held} of the {all} stamps are held out: about half of them by a hash of their keys, stamps that are
alike (equal captions, names that differ in a number, nearly equal pictures) always on one side.
Drawings of the other collections that are nearly the same as a stamp that is held out are left out.
The method (ridge regression onto partly whitened text) and its parameters were chosen by
cross-validation within the training half. {recordings} recordings of the training half were heard.

**The demonstration corpus holds the stamps of the training half too**, so its figures are better
than those of pictures that the heads never saw. The figures here are of stamps that are held out.

## Text and images

A held-out caption finds its own picture among {held}, and the other way round. Strictly: stamps of
equal captions are wrong answers to each other, but for the last two rows.

"""

_AUDIO = """\

## Recordings

Held-out recordings among all texts or pictures that are held out, and these among all recordings
that are held out. Anything of the own caption is a right answer. Nearly all speech names a letter
or a number, of which the training half has others; sounds are of animals and machines.

"""

_ABLATION = """\

## By what was learned from

R@10, both halves, strictly, with the head alone in brackets.

"""

_HEADER = "| | queries | gallery | R@1 | R@5 | R@10 | chance of R@10 | median rank |\n" + (
    "|---" * 8 + "|\n"
)
_WAYS = {
    "conse": "ConSE alone",
    "head": "head alone",
    "both": "both",
    "equal captions": "both, equal captions right",
}


def page(
    figures: Mapping[str, Row], ablation: Mapping[str, Mapping[str, Row]], meta: Mapping[str, Any]
) -> str:
    """The page as Markdown."""
    data = "\n".join(
        f"- {count:,} {_NAMES[name]} ({meta['data'][name]})"
        for name, count in meta["drawings"].items()
    )
    held = meta["held_out"]
    text = _INTRO.format(
        dim=DIM,
        share=SHARE,
        rest=1 - SHARE,
        data=data,
        held=held,
        all=held + meta["drawings"]["stamps"],
        recordings=meta["recordings"],
    )
    lines = [
        _line(f"{way.replace('->', ' to ')}, {said}", figures[f"{name} {way}"])
        for name, said in _WAYS.items()
        for way in ("text->image", "image->text")
    ]
    heard = [_line(n.replace("->", " to "), r) for n, r in figures.items() if " " not in n]
    return (
        text + _HEADER + "".join(lines) + _AUDIO + _HEADER + "".join(heard) + _ABLATION
    ) + "".join(_compared(ablation))


_NAMES = {
    "stamps": "stamps of Tux Paint (GPL-2) with English captions, each counting three times",
    "openmoji": "drawings of OpenMoji (CC BY-SA 4.0) with the names and keywords of Unicode's CLDR",
    "openclipart": "drawings of Open Clip Art (public domain) with their titles and keywords",
    "glyphs": "letters and digits of four fonts, none of them that of the stamps' own letters",
}


def _line(name: str, row: Row) -> str:
    f = row.figures
    return (
        f"| {name} | {row.queries} | {row.gallery} | {f['r@1']:.3f} | {f['r@5']:.3f} |"
        f" {f['r@10']:.3f} | {row.chance:.3f} | {f['median_rank']:g} |\n"
    )


def _compared(ablation: Mapping[str, Mapping[str, Row]]) -> list[str]:
    lines = ["| learned from | text to image | image to text |\n|---|---|---|\n"]
    for name, found in ablation.items():
        cells = [
            f"{found[f'both {way}'].figures['r@10']:.3f}"
            f" ({found[f'head {way}'].figures['r@10']:.3f})"
            for way in ("text->image", "image->text")
        ]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |\n")
    return lines
