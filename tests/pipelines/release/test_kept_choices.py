"""Weights of parts last while corrections are kept and few rows of the galleries change."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.release.kept_choices import kept_part_weights
from store.tables import schema
from store.tables.releases import Release
from store.tables.table_version import TableVersion
from tests.helpers.planted_release import Parts, publish, unit_rows

SAMPLES, DIM, MODALITIES = 100, 8, ("image", "text")


def galleries(release: Release, tables) -> dict[str, TableVersion]:
    names = {m: release.gallery(m) for m in MODALITIES}
    return {m: TableVersion(tables, name, tables.version(name)) for m, name in names.items()}


def test_part_weights_are_learned_anew_after_many_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = {m: unit_rows(rng.normal(size=(SAMPLES + 40, DIM))) for m in MODALITIES}
    parts = {m: Parts(np.arange(SAMPLES), v[:SAMPLES]) for m, v in vectors.items()}
    banks = {m: v[SAMPLES:] for m, v in vectors.items()}
    corpus = publish(tmp_path, parts, banks, held_out={"validation": parts})
    release, tables = corpus.release, corpus.tables
    directions = release.directions
    weights = release.part_weights
    assert set(weights) == set(MODALITIES)
    assert kept_part_weights(release, directions, galleries(release, tables)) == weights

    delete(tables, release.gallery("text"), range(12))
    delete(tables, release.gallery("image"), range(6))
    kept = kept_part_weights(release, directions, galleries(release, tables))
    assert kept == {m: replace(w, changed=18) for m, w in weights.items()}
    assert kept_part_weights(None, directions, galleries(release, tables)) is None
    other = directions | {"text->image": directions["text->image"].raw("another choice")}
    assert kept_part_weights(release, other, galleries(release, tables)) is None
    fewer = {name: d for name, d in directions.items() if d.gallery == "image"}
    assert kept_part_weights(release, fewer, galleries(release, tables)) is None

    once_more = replace(release, part_weights=kept)  # 18 rows had changed before
    assert kept_part_weights(once_more, directions, galleries(release, tables)) is None


def delete(tables, name: str, samples: range) -> None:
    ids = ", ".join(f"'{number:032x}'" for number in samples)
    tables.delete(name, schema.gallery(DIM, []), f"id IN ({ids})")
