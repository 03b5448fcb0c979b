"""The assets of each space: from the vectors of its encoders to the release that is searched.

The main space, which `space:` of corpus.yaml names, is searched unless another one is asked for,
and the policy reads the signals of its pairs. Another space of `spaces:` has the same assets; the
names of its assets, stages and tables end with the name of the space.
"""

from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg

from assets.corpus_assets import curation, decisions, duplicates
from assets.drop_assets import samples, signals
from assets.materialise import stage_asset
from assets.metadata import signals as signals_metadata
from assets.metadata import tables

_STAGES: dict[str, tuple[str, str, Callable[..., dict[str, Any]]]] = {
    "vectors": (
        "Every part that passes the prefilter, embedded once by a pool of Ray actors.",
        "pipelines.vectors.stage:embed",
        tables.vectors,
    ),
    "pairs": (
        "How well the parts of every sample fit each other, and compared with random others.",
        "pipelines.pairs.stage:measure_pairs",
        signals_metadata.pairs,
    ),
    "banks": (
        "Pairs set aside to fit corrections on, to choose among them, and to test the choice.",
        "pipelines.banks.stage:draw_banks",
        tables.banks,
    ),
    "gallery": (
        "What search reads: kept parts, with the chosen corrections compiled into their vectors.",
        "pipelines.gallery.stage:build_gallery",
        tables.gallery,
    ),
    "index": (
        "The indexes of the galleries, and how search probes them to reach the recall of"
        " corpus.yaml.",
        "pipelines.index.stage:index_galleries",
        tables.index,
    ),
    "release": (
        "Table versions that belong together, evaluated on test pairs, tagged and listed.",
        "pipelines.release.stage:make_release",
        tables.release,
    ),
}


def space_assets(space: str | None) -> dict[str, dg.AssetsDefinition]:
    """The assets of a space, by stage. None: the main space."""
    return {
        stage: stage_asset(stage, description, build, show, space)
        for stage, (description, build, show) in _STAGES.items()
    }


MAIN = space_assets(None)
SHARED = [samples, signals, duplicates, decisions, curation]


def all_assets(others: Iterable[str]) -> list[dg.AssetsDefinition]:
    """The assets of a corpus.

    Args:
        others: the names of its spaces beside the main one.
    """
    of_others = [asset for space in others for asset in space_assets(space).values()]
    return [*SHARED, *MAIN.values(), *of_others]
