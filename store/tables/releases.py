"""Releases: immutable sets of table versions that belong together, with their evaluation.

Tags come first and the release's row last, so a release that is listed can always be opened.
Cleanup leaves tagged versions alone; only the last releases keep their tags.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from store.corrections.recipe import Recipe, recipe
from store.errors import NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables
from store.tables.names import gallery_table

TABLE = "releases"
KEEP = 5


@dataclass(frozen=True)
class Direction:
    """How queries of one modality are corrected against the gallery of another.

    `method` is "none" where the raw scores won, and `reason` says why this one; `tried` is every
    setting that was compared. `centre` is what the stored biases were centred by in the served
    vectors (`vector_layout`). `zero` and `unit` are the scale of its scores, by which lists of
    several galleries are merged.
    """

    query: str
    gallery: str
    method: str
    params: dict[str, Any]
    reason: str
    pairs: int
    zero: float = 0.0
    unit: float = 1.0
    centre: float = 0.0
    tried: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.query}->{self.gallery}"

    @property
    def recipe(self) -> Recipe:
        """The correction, ready to be fitted again."""
        return recipe(self.method, self.params)

    def raw(self, reason: str) -> "Direction":
        """The same direction, left uncorrected."""
        return replace(self, method="none", params={}, reason=reason)


@dataclass(frozen=True)
class Release:
    """One release as it is stored.

    `dim` is the space's; `versions` maps tables to their Lance versions; `banks` says by modality
    what the corrections were fitted on.
    """

    number: int
    created_at: datetime
    space: str
    space_config: dict[str, Any]
    dim: int
    fingerprints: dict[str, str]
    banks: dict[str, Any]
    versions: dict[str, int]
    directions: dict[str, Direction]
    evaluation: dict[str, Any]
    policy: str

    @property
    def tag(self) -> str:
        return f"release-{self.number:06d}"

    def gallery(self, modality: str) -> str:
        return gallery_table(self.space, modality)

    @property
    def modalities(self) -> list[str]:
        """The modalities that have a gallery."""
        return [m for m in schema.MODALITIES if self.gallery(m) in self.versions]


def publish(
    tables: Tables,
    *,
    space: str,
    space_config: Mapping[str, Any],
    dim: int,
    fingerprints: Mapping[str, str],
    banks: Mapping[str, Any],
    versions: Mapping[str, int],
    directions: Mapping[str, Direction],
    evaluation: Mapping[str, Any],
    policy: str,
) -> Release:
    """Tag the versions, then list the release; all but the last `KEEP` and the newest of each
    space lose their tags."""
    with tables.lock("publish-release"):
        known = listed(tables)
        release = Release(
            number=known[-1].number + 1 if known else 1,
            created_at=datetime.now(UTC),
            space=space,
            space_config=dict(space_config),
            dim=dim,
            fingerprints=dict(fingerprints),
            banks=dict(banks),
            versions=dict(versions),
            directions=dict(directions),
            evaluation=dict(evaluation),
            policy=policy,
        )
        for name, version in release.versions.items():
            dataset = tables.open(name)
            if release.tag in dataset.tags.list():  # left by a run that died before the row
                dataset.tags.delete(release.tag)
            dataset.tags.create(release.tag, version)
        row = pa.Table.from_pylist([_row(release)], schema=schema.RELEASES)
        tables.replace(TABLE, schema.RELEASES, row.to_batches(), "false")
        kept = {each.number for each in _kept([*known, release])}
        for old in known:
            if old.number not in kept:
                _untag(tables, old)
    return release


def listed(tables: Tables) -> list[Release]:
    """All releases, oldest first."""
    rows = tables.scan(TABLE, schema.RELEASES).sort_by("release").to_pylist()
    return [_release(row) for row in rows]


def latest(tables: Tables, space: str | None = None) -> Release:
    """The newest release, of all or of a space.

    Raises:
        NotFoundError: there is none yet.
    """
    known = listed(tables)
    if not known:
        raise NotFoundError(f"no release in {tables.root} yet: `isotrope run` makes the first one")
    found = [release for release in known if space in (None, release.space)]
    if not found:
        there = ", ".join(sorted({release.space for release in known}))
        raise NotFoundError(f"no release in the space {space!r} yet, only in: {there}")
    return found[-1]


def numbered(tables: Tables, number: int) -> Release:
    """A release by its number.

    Raises:
        NotFoundError: there is none, or its tables are no longer kept.
    """
    known = {release.number: release for release in listed(tables)}
    kept = [release.number for release in _kept(list(known.values()))]
    if number not in kept:
        said = "is no longer kept" if number in known else "is not there"
        raise NotFoundError(f"release {number} {said}; there are: {', '.join(map(str, kept))}")
    return known[number]


def _kept(known: list[Release]) -> list[Release]:
    """The last `KEEP`, and the newest of each space, oldest first."""
    newest = {release.space: release.number for release in known}
    recent = {release.number for release in known[-KEEP:]}
    return [r for r in known if r.number in recent | set(newest.values())]


def _untag(tables: Tables, release: Release) -> None:
    for name in release.versions:
        tags = tables.open(name).tags
        if release.tag in tags.list():
            tags.delete(release.tag)


def _row(release: Release) -> dict[str, Any]:
    return {
        "release": release.number,
        "created_at": release.created_at,
        "space": release.space,
        "space_config": json.dumps(release.space_config),
        "dim": release.dim,
        "fingerprints": json.dumps(release.fingerprints),
        "banks": json.dumps(release.banks),
        "versions": json.dumps(release.versions),
        "directions": json.dumps({n: vars(d) for n, d in release.directions.items()}),
        "evaluation": json.dumps(release.evaluation),
        "policy": release.policy,
    }


def _release(row: dict[str, Any]) -> Release:
    directions = json.loads(row["directions"])
    return Release(
        number=row["release"],
        created_at=row["created_at"],
        space=row["space"],
        space_config=json.loads(row["space_config"]),
        dim=row["dim"],
        fingerprints=json.loads(row["fingerprints"]),
        banks=json.loads(row["banks"]),
        versions=json.loads(row["versions"]),
        directions={n: Direction(**d) for n, d in directions.items()},
        evaluation=json.loads(row["evaluation"]),
        policy=row["policy"],
    )
