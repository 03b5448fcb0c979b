"""Drawings of a page that are made of lines and areas, such as plots, found by their positions.

Paths whose distance is at most a cell or two of a grid are one drawing. The grid bounds the time,
whatever the number of paths.
"""

from collections.abc import Sequence

from pipelines.sources.documents.figures import Box

_CELL = 8.0  # points
_MOST_CELLS = 200  # along the longer side of a page
_FEWEST_PATHS = 6  # of a drawing; fewer are frames and rules
_SMALLEST = 48.0  # points: the shorter side


def drawings(paths: Sequence[Box], width: float, height: float) -> list[Box]:
    """The drawings that are made of these paths.

    Args:
        paths: of a page, in points.
        width: of the page.
        height: of the page.
    """
    cell = max(_CELL, max(width, height) / _MOST_CELLS)
    columns, rows = int(width / cell) + 1, int(height / cell) + 1

    def cells(box: Box) -> tuple[range, range]:
        left, right = (min(columns - 1, max(0, int(x / cell))) for x in box[0::2])
        top, bottom = (min(rows - 1, max(0, int(y / cell))) for y in box[1::2])
        return range(left, right + 1), range(top, bottom + 1)

    covered = [0] * rows  # a bit for each cell
    for path in paths:
        across, down = cells(path)
        mask = ((1 << len(across)) - 1) << across.start
        for row in down:
            covered[row] |= mask
    drawing_of = _components(covered, columns)
    boxes: dict[int, tuple[Box, int]] = {}
    for path in paths:
        across, down = cells(path)
        number = drawing_of[down.start, across.start]
        box, count = boxes.get(number, (path, 0))
        boxes[number] = box.union(path), count + 1
    return [
        box
        for box, count in boxes.values()
        if count >= _FEWEST_PATHS and box.shorter_side >= _SMALLEST
    ]


def _components(covered: Sequence[int], columns: int) -> dict[tuple[int, int], int]:
    """The component of each covered cell (row, column); cells that touch at a corner are one."""
    numbers: dict[tuple[int, int], int] = {}
    cells = [(row, c) for row, bits in enumerate(covered) for c in range(columns) if bits >> c & 1]
    waiting = set(cells)
    for number, cell in enumerate(cells):
        if cell not in waiting:
            continue
        waiting.discard(cell)
        pending = [cell]
        while pending:
            row, column = pending.pop()
            numbers[row, column] = number
            near = [(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
            near = [each for each in near if each in waiting]
            waiting.difference_update(near)
            pending += near
    return numbers
