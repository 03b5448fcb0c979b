"""Which pictures of a page belong to which caption, by their positions.

The rule is a part of that of Clark and Divvala (PDFFigures, AAAI workshop 2015): a caption stands
directly above or below its figure, in the same column.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

# "Figure 3:", "Fig. 2.", "FIG. S1 |", "Scheme 1 The ...", at the start of a line. "Figure 3 shows"
# in a sentence has no mark after the number, and a small letter.
CAPTION = re.compile(
    r"\s*(?P<label>(?:(?:supplementary|extended\s+data)\s+)?"
    r"(?:figure|fig\s?\.?|scheme|plate|abbildung|abb\.|tafel|figura|рис\.|рисунок)\s*"
    r"(?:[a-z]\.?)?\d{1,4}(?:\.\d{1,3})?[a-z]?)(?:\s*[.:|)–—-]|\s*$|\s+(?-i:[A-Z]))",
    re.IGNORECASE,
)
SMALLEST = 24.0  # points: the shorter side of a picture; smaller ones are icons and rules
_LONGEST_GAP = 60.0  # points between a caption and its figure
_PART_GAP = 54.0  # points between the parts of a figure
_LABEL_GAP = 12.0  # points between a figure and its labels
_LABEL_ROUNDS = 3  # labels, such as an axis's name, stand beside other labels, such as its numbers
_SHARED = 0.2  # share of the smaller height or width in which neighbours overlap


class Box(NamedTuple):
    """A rectangle in points, with y downwards as in pictures."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def shorter_side(self) -> float:
        """In points."""
        return min(self.right - self.left, self.bottom - self.top)

    def union(self, other: "Box") -> "Box":
        """The smallest box with both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def overlaps(self, other: "Box") -> bool:
        """Whether they share an area."""
        return _overlap(self[0::2], other[0::2]) > 0 and _overlap(self[1::2], other[1::2]) > 0


def figures(captions: Sequence[Box], pictures: Sequence[Box]) -> list[Box | None]:
    """The figure of each caption; None where there is none.

    A picture goes to the nearest caption above or below it, at most 60 points away. Pictures next
    to one that has a caption, at most 54 points away, are parts of its figure. Small pictures, and
    those that overlap a caption, such as a background of the page, are left out.

    Args:
        captions: of a page.
        pictures: of the page. The time grows with the square of their number.
    """
    left = [
        p
        for p in pictures
        if p.shorter_side >= SMALLEST and not any(p.overlaps(c) for c in captions)
    ]
    boxes: list[Box | None] = [None] * len(captions)
    parts: list[tuple[int, Box]] = []
    for picture in left:
        distance, index = min(
            ((_caption_distance(c, picture), i) for i, c in enumerate(captions)),
            default=(float("inf"), 0),
        )
        if distance <= _LONGEST_GAP:
            parts.append((index, picture))
    waiting = [p for p in left if p not in {picture for _, picture in parts}]
    for index, part in parts:  # grows while it is read: parts can have parts
        box = boxes[index]
        merged = part if box is None else box.union(part)
        if any(merged.overlaps(caption) for caption in captions):
            continue
        boxes[index] = merged
        near = [w for w in waiting if _are_parts(part, w)]
        parts += [(index, w) for w in near]
        waiting = [w for w in waiting if w not in near]
    return boxes


def with_labels(figure: Box, labels: Sequence[Box], captions: Sequence[Box]) -> Box:
    """A figure with the labels around it, such as those of axes.

    Labels at most 12 points away from the figure, or from a label of it, are part of it, unless the
    figure would then cover a caption.

    Args:
        figure: of a page.
        labels: short lines of text of the page.
        captions: of the page.
    """
    left = list(labels)
    for _ in range(_LABEL_ROUNDS):
        near = Box(
            figure.left - _LABEL_GAP,
            figure.top - _LABEL_GAP,
            figure.right + _LABEL_GAP,
            figure.bottom + _LABEL_GAP,
        )
        for label in [label for label in left if label.overlaps(near)]:
            left.remove(label)
            merged = figure.union(label)
            if not any(merged.overlaps(caption) for caption in captions):
                figure = merged
    return figure


def _caption_distance(caption: Box, picture: Box) -> float:
    """Points between a caption and a picture above or below it; infinite if it is beside it."""
    if _overlap(caption[0::2], picture[0::2]) <= 0:
        return float("inf")
    return max(caption.top - picture.bottom, picture.top - caption.bottom, 0.0)


def _are_parts(one: Box, other: Box) -> bool:
    """Whether two pictures are near each other in a row or in a column."""
    for along, across in ((0, 1), (1, 0)):
        a, b, c, d = one[along::2], other[along::2], one[across::2], other[across::2]
        shared = _overlap(a, b) / min(a[1] - a[0], b[1] - b[0])
        if shared >= _SHARED and -_overlap(c, d) <= _PART_GAP:
            return True
    return False


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The length that two intervals share; minus the gap between them if they share none."""
    return min(a[1], b[1]) - max(a[0], b[0])
