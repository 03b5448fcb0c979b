"""What a query will do, before it runs: galleries, corrections, index or scan and why, recall."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PlannedSearch:
    """The search of one vector column of a gallery.

    Attributes:
        column: of the gallery's table.
        count: how many rows are fetched at first.
        method: scan, or the type of the index.
        nprobes: partitions of the index that are searched at least. 0 for a scan.
        partitions: of the index. 0 for a scan.
        refine: so many times the measured rows are ranked anew by exact scores. 0 for a scan.
        recall: as measured for the index when the release was made; 1 for a scan.
        reason: why it is a scan or not.
    """

    column: str
    count: int
    method: str
    nprobes: int
    partitions: int
    refine: int
    recall: float
    reason: str


@dataclass(frozen=True)
class PlannedCorrection:
    """How the scores of inputs of one modality are corrected.

    Attributes:
        direction: such as "text->image".
        method: of the correction; "none" for raw scores.
        params: of the method. Empty where the best that were tried are taken.
        compiled: whether it is in the stored vectors. If not, raw candidates are rescored.
        reason: why it is this method.
    """

    direction: str
    method: str
    params: dict[str, Any]
    compiled: bool
    reason: str


@dataclass(frozen=True)
class PlannedGallery:
    """The search of one gallery.

    Attributes:
        modality: of its items.
        rows: of the gallery.
        matches: rows that satisfy the condition. None without one.
        condition: as it is sent to Lance. None without one.
        corrections: of the modalities of the inputs.
        searches: of vector columns. The scores of several are joined.
        candidates: how many raw candidates are rescored. 0 if the correction is compiled.
        exact: whether the list is proven to be the best. None: the search itself finds that out.
    """

    modality: str
    rows: int
    matches: int | None
    condition: str | None
    corrections: tuple[PlannedCorrection, ...]
    searches: tuple[PlannedSearch, ...]
    candidates: int
    exact: bool | None

    @property
    def recall(self) -> float:
        """The lowest recall of its searches."""
        return min(search.recall for search in self.searches)


@dataclass(frozen=True)
class Plan:
    """What a query will do. `str(plan)` is text for people.

    Attributes:
        query: as text.
        release: its number.
        galleries: that are searched.
        steps: what is done with their rows, in this order.
        exact: whether the result will have `complete`. None: the search itself finds that out.
        recall: the result's `recall`.
    """

    query: str
    release: int
    galleries: tuple[PlannedGallery, ...]
    steps: tuple[str, ...]
    exact: bool | None
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    def show(self) -> None:
        """Print the plan."""
        print(self)

    def __str__(self) -> str:
        lines = [self.query, f"release {self.release}"]
        for gallery in self.galleries:
            lines += _gallery_lines(gallery)
        lines += [f"then {step}" for step in self.steps]
        if self.exact:
            return "\n".join([*lines, "the rows are proven to be the best"])
        proven = "" if self.exact is False else "; the search finds out whether the rows are proven"
        return "\n".join([*lines, f"recall {self.recall:.4f}{proven}"])


def _gallery_lines(gallery: PlannedGallery) -> list[str]:
    lines = [f"{gallery.modality} gallery: {gallery.rows:,} rows"]
    if gallery.condition is not None:
        lines.append(f"  of which {gallery.matches:,} satisfy {gallery.condition}")
    for search in gallery.searches:
        how = "scan"
        if search.method != "scan":
            how = f"{search.method}, {search.nprobes} of {search.partitions} partitions"
            how += f", refine {search.refine}, recall {search.recall:.4f}"
        lines.append(f"  {search.column}: {how}: {search.reason}")
    for each in gallery.corrections:
        params = ", ".join(f"{name} {value}" for name, value in each.params.items())
        named = f"{each.method} ({params})" if params else each.method
        # The reason of a chosen correction begins with its name.
        is_named = each.reason.startswith(each.method)
        lines.append(
            f"  {each.direction}: {each.reason if is_named else f'{named}: {each.reason}'}"
        )
    if gallery.candidates:
        lines.append(f"  the best {gallery.candidates:,} raw candidates are rescored")
    return lines
