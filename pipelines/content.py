"""The content of parts, as the pool's CPU tasks read it. Imports little: each worker does."""

from dataclasses import dataclass

from store.tables import take


@dataclass(frozen=True)
class LoadParts:
    """Reads parts from `samples`: (part id, bytes or text) for each of `ids`, which are in `rows`
    of that version."""

    root: str
    version: int
    column: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]

    def __call__(self) -> list[tuple[str, bytes | str]]:
        found = take(f"{self.root}/samples.lance", self.version, self.rows, [self.column])
        return list(zip(self.ids, found[self.column].to_pylist(), strict=True))
