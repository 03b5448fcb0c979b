"""The receipt of a takedown, as JSON and as text: what was removed, without content."""

import json
from dataclasses import asdict, dataclass

from pipelines.takedown.plan import Plan
from store.tables import releases
from store.tables.lance_tables import Tables
from store.tables.takedowns import FOLDER


@dataclass(frozen=True)
class Receipt:
    """What a takedown did.

    Attributes:
        started_at: an ISO timestamp.
        reason: of the operator.
        samples: ids of the samples that were removed.
        parts: ids of the parts that were removed.
        rows: how many rows of the newest version of each table were removed or cleared.
        releases: the kept releases, all of which were searched for the samples.
        bytes_freed: by the deletion of old files.
        file: the receipt, relative to the folder of the tables.
        exports: how many shards of exports were removed, by folder. None: it cannot be reached.
    """

    started_at: str
    reason: str
    samples: list[str]
    parts: list[str]
    rows: dict[str, int]
    releases: list[int]
    bytes_freed: int
    file: str
    exports: dict[str, int | None]

    def text(self) -> str:
        """The receipt for people."""
        lines = [
            f"takedown of {self.started_at}",
            f"reason: {self.reason or 'not given'}",
            f"{len(self.samples)} samples and {len(self.parts)} parts were removed from the tables,"
            f" and from the kept releases {', '.join(map(str, self.releases)) or '(none)'};"
            f" {self.bytes_freed:,} bytes were freed",
            *(f"  {rows:>8,} rows of {name}" for name, rows in sorted(self.rows.items()) if rows),
            "Samples: " + (", ".join(self.samples) or "none"),
            "Parts: " + (", ".join(self.parts) or "none"),
            "They are rejected if they are delivered again.",
            *(
                f"{count} shards of the export in {folder} were removed; `isotrope export` writes"
                " it anew"
                if count
                else f"Not removed, because it cannot be reached: the export in {folder}"
                for folder, count in sorted(self.exports.items())
            ),
            "Not removed: the source files, copies of exports, backups, and pages that were written"
            " to other folders.",
        ]
        return "\n".join(lines) + "\n"


def write_receipt(
    tables: Tables, plan: Plan, freed: int, exports: dict[str, int | None]
) -> Receipt:
    """Write the receipt of a takedown beside the tables; return it."""
    stem = f"{FOLDER}/{plan.started_at.replace(':', '').replace('+0000', 'Z')}"
    receipt = Receipt(
        plan.started_at,
        plan.reason,
        sorted(plan.samples),
        sorted(plan.parts),
        plan.removed,
        [release.number for release in releases.kept_releases(tables)],
        freed,
        f"{stem}.json",
        exports,
    )
    tables.files.write(receipt.file, json.dumps(asdict(receipt), indent=2).encode())
    tables.files.write(f"{stem}.txt", receipt.text().encode())
    return receipt
