"""Releases: immutable sets of table versions that belong together, with their evaluation.

A release's versions are tagged before its row is written, so every release in the table can be
opened. Cleanup does not delete tagged versions. Only the last releases keep their tags.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from store.errors import NotFoundError
from store.html_table import html_table
from store.tables import indexes as index_settings
from store.tables import part_weights as part_settings
from store.tables import schema
from store.tables.banks import describe_banks
from store.tables.direction import Direction
from store.tables.indexes import GalleryIndex
from store.tables.lance_tables import Tables
from store.tables.names import bank_table, gallery_table, moments_table
from store.tables.part_weights import PartWeights

TABLE = "releases"
KEEP = 5
_TAG = "release-"


@dataclass(frozen=True)
class Release:
    """One release, as the table stores it.

    Attributes:
        number: from 1, in the order of publication.
        created_at: when it was published.
        space: the name of the space.
        space_config: the configuration of the space.
        dim: the number of dimensions of the space.
        fingerprints: of the encoders of items, by modality.
        banks: what the corrections were fitted on, as `describe_banks` returns it.
        versions: Lance versions by table.
        directions: by name.
        evaluation: figures on test pairs, by direction.
        policy: the hash of the policy.
        indexes: how the galleries are indexed, by modality, and moments (`moments_index`).
        part_weights: how samples are scored by all their parts, by modality of the queries. None
            if the release was made before there were such weights.
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
    indexes: dict[str, GalleryIndex] = field(default_factory=dict)
    part_weights: dict[str, PartWeights] | None = None

    @property
    def query_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the encoders of queries, by modality: of bridged ones where
        `space_config` has them, else those of the items."""
        queries = self.space_config.get("queries", {})
        return self.fingerprints | {m: tower["fingerprint"] for m, tower in queries.items()}

    @property
    def tag(self) -> str:
        """The tag of the release's table versions."""
        return f"{_TAG}{self.number:06d}"

    def gallery(self, modality: str) -> str:
        """The name of the gallery table of a modality."""
        return gallery_table(self.space, modality)

    @property
    def modalities(self) -> list[str]:
        """The modalities that have a gallery."""
        return [m for m in schema.MODALITIES if self.gallery(m) in self.versions]

    @property
    def with_moments(self) -> list[str]:
        """The modalities whose moments can be searched."""
        return [m for m in self.modalities if moments_table(self.space, m) in self.versions]

    def _repr_html_(self) -> str:
        """The corrections in a notebook, with the mean reciprocal ranks of the test pairs."""
        title = f"release {self.number}, space {self.space}, {self.created_at:%Y-%m-%d %H:%M} UTC"
        rows = []
        for name, direction in self.directions.items():
            figures = self.evaluation.get(name, {})
            mrr = (figures.get(side, {}).get("mrr") for side in ("raw", "corrected"))
            rows.append((name, direction.method, *mrr, direction.reason))
        return html_table(title, ("direction", "method", "MRR raw", "corrected", "reason"), rows)


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
    indexes: Mapping[str, GalleryIndex] | None = None,
    part_weights: Mapping[str, PartWeights] | None = None,
) -> Release:
    """Tag the table versions, then add the release to the table.

    All releases lose their tags, except the last `KEEP` and the newest of each space. The arguments
    are those of `Release`.
    """
    with tables.lock("publish-release"):
        earlier = list_releases(tables)
        release = Release(
            number=earlier[-1].number + 1 if earlier else 1,
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
            indexes=dict(indexes or {}),
            part_weights=None if part_weights is None else dict(part_weights),
        )
        for name, version in release.versions.items():
            dataset = tables.open(name)
            if release.tag in dataset.tags.list():  # from a run that died before it wrote the row
                dataset.tags.delete(release.tag)
            dataset.tags.create(release.tag, version)
        row = pa.Table.from_pylist([_row(release)], schema=schema.RELEASES)
        tables.replace(TABLE, schema.RELEASES, row.to_batches(), "false")
        kept = {each.number for each in _kept([*earlier, release])}
        for each in (each for each in earlier if each.number not in kept):
            _untag(tables, each)
    return release


def follow_tags(tables: Tables) -> None:
    """Correct the versions in the rows of kept releases after their tags were moved."""
    kept = {each.number for each in kept_releases(tables)}
    with tables.lock("publish-release"):
        releases = list_releases(tables)
        rows = [_row(_with_tagged_versions(tables, r) if r.number in kept else r) for r in releases]
        table = pa.Table.from_pylist(rows, schema=schema.RELEASES)
        tables.replace(TABLE, schema.RELEASES, table.to_batches(), None)


def forget(tables: Tables, numbers: Collection[int]) -> None:
    """Delete the rows and the tags of releases whose tables are damaged."""
    with tables.lock("publish-release"):
        for release in list_releases(tables):
            if release.number in numbers:
                _untag(tables, release)
        where = f"release IN ({', '.join(map(str, numbers))})" if numbers else "false"
        tables.replace(TABLE, schema.RELEASES, [], where)


def recorded_tags(tables: Tables) -> set[str]:
    """The tags of all releases that have a record."""
    return {release.tag for release in list_releases(tables)}


def tags_without_record(tables: Tables, name: str, recorded: Collection[str]) -> list[str]:
    """The tags of a table that belong to releases whose record was lost.

    Args:
        recorded: the tags of all releases (`recorded_tags`).
    """
    tags = tables.open(name, any_format=True).tags.list()
    return sorted(tag for tag in tags if tag.startswith(_TAG) and tag not in recorded)


def _with_tagged_versions(tables: Tables, release: Release) -> Release:
    versions = {
        name: int(tables.open(name, any_format=True).tags.get_version(release.tag))
        for name in release.versions
    }
    if (banks := bank_table(release.space)) in versions:
        description = describe_banks(tables.open(banks, versions[banks], any_format=True))
        release = replace(release, banks=description)
    return replace(release, versions=versions)


def list_releases(tables: Tables) -> list[Release]:
    """All releases, oldest first."""
    rows = tables.scan(TABLE, schema.RELEASES).sort_by("release").to_pylist()
    return [_release(row) for row in rows]


def latest_release(tables: Tables, space: str | None = None, main: str | None = None) -> Release:
    """The newest release of a space; None: of the main one, or of all if that has no release.

    Raises:
        NotFoundError: there is none.
    """
    if not (releases := list_releases(tables)):
        raise NotFoundError(f"no release in {tables.root} yet: `isotrope run` makes the first one")
    of_space = [release for release in releases if release.space == (space or main)]
    of_space = of_space or ([] if space else releases)
    if not of_space:
        spaces = ", ".join(sorted({release.space for release in releases}))
        raise NotFoundError(f"no release in the space {space!r} yet, only in: {spaces}")
    return of_space[-1]


def kept_releases(tables: Tables) -> list[Release]:
    """The releases that keep their tags, oldest first."""
    return _kept(list_releases(tables))


def release_by_number(tables: Tables, number: int) -> Release:
    """The release with a number.

    Raises:
        NotFoundError: there is none, or its table versions are no longer kept.
    """
    releases = {release.number: release for release in list_releases(tables)}
    kept = [release.number for release in _kept(list(releases.values()))]
    if number not in kept:
        problem = "is no longer kept" if number in releases else "does not exist"
        raise NotFoundError(
            f"release {number} {problem}; available: {', '.join(map(str, kept)) or 'none'}"
        )
    return releases[number]


def _kept(releases: list[Release]) -> list[Release]:
    """The releases that keep their tags, oldest first."""
    newest = {release.space: release.number for release in releases}
    recent = {release.number for release in releases[-KEEP:]}
    return [r for r in releases if r.number in recent | set(newest.values())]


def _untag(tables: Tables, release: Release) -> None:
    for name in filter(tables.exists, release.versions):
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
        "indexes": json.dumps(index_settings.describe(release.indexes)),
        "part_weights": json.dumps(part_settings.describe(release.part_weights)),
    }


def _release(row: dict[str, Any]) -> Release:
    return Release(
        number=row["release"],
        created_at=row["created_at"],
        space=row["space"],
        space_config=json.loads(row["space_config"]),
        dim=row["dim"],
        fingerprints=json.loads(row["fingerprints"]),
        banks=json.loads(row["banks"]),
        versions=json.loads(row["versions"]),
        directions={n: Direction(**d) for n, d in json.loads(row["directions"]).items()},
        evaluation=json.loads(row["evaluation"]),
        policy=row["policy"],
        indexes=index_settings.from_description(json.loads(row["indexes"] or "{}")),
        part_weights=part_settings.from_description(json.loads(row["part_weights"] or "null")),
    )
