"""All records of the table `stages`, read at once: what has been made of which drop."""

from collections.abc import Iterable, Mapping
from typing import Any

from store.tables import schema
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.stages import EVERY_DROP

TABLE = "stages"
_COLUMNS = ["drop", "stage", "run_key", "output"]


def of_stage(stage: str, drop: str = EVERY_DROP) -> str:
    """An SQL condition for the rows of a stage of a drop, in `stages` and in `ledger`."""
    return f"drop = {quote(drop)} AND stage = {quote(stage)}"


def of_every_space(stages: Iterable[str]) -> str:
    """An SQL condition for the rows of these stages in all spaces and drops."""
    names = sorted(stages)
    return " OR ".join([one_of("stage", names), *(f"starts_with(stage, '{n}__')" for n in names)])


def forget_records(tables: Tables, where: str) -> None:
    """Delete the records that match an SQL condition: their stages are missing from then on."""
    tables.delete(TABLE, schema.STAGES, where)


class StageRecords:
    """The records at one moment, by stage and drop: their run keys and outputs.

    Args:
        rows: of the table, as dicts with drop, stage, run_key and output.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self._by_stage: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in rows:
            self._by_stage.setdefault(row["stage"], {})[row["drop"]] = row

    @staticmethod
    def read(tables: Tables, drop: str | None = None) -> "StageRecords":
        """Read the table, which may not exist yet.

        Args:
            tables: of the corpus.
            drop: read the records of this drop alone. None: of all drops, and global ones.

        Raises:
            DamagedTableError: the table cannot be read.
        """
        where = None if drop is None else f"drop = {quote(drop)}"
        return StageRecords(tables.scan(TABLE, schema.STAGES, _COLUMNS, where).to_pylist())

    def refresh(self, tables: Tables, drop: str = EVERY_DROP) -> None:
        """Read the records of a drop again, or the global ones."""
        for of_stage in self._by_stage.values():
            of_stage.pop(drop, None)
        for stage, of_stage in StageRecords.read(tables, drop)._by_stage.items():
            self._by_stage.setdefault(stage, {}).update(of_stage)

    def get(self, stage: str, drop: str = EVERY_DROP) -> Mapping[str, Any] | None:
        """The record of a stage of a drop, or None if it was not published."""
        return self._by_stage.get(stage, {}).get(drop)

    def outputs(self, stage: str) -> list[tuple[str, str]]:
        """(drop, output) of a stage over all drops, sorted."""
        of_stage = self._by_stage.get(stage, {})
        return sorted((drop, row["output"]) for drop, row in of_stage.items())

    def drops(self, stage: str) -> list[str]:
        """The drops of which a stage was published, sorted."""
        return sorted(self._by_stage.get(stage, {}))
