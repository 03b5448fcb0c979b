"""Keeps the last draw while the corpus grows, so that new samples cost what they cost.

A draw that is made anew changes the values of every sample. The last one is kept until one of these
happens:

- the settings change;
- the corpus has doubled: twice as many samples have the modalities that the draw is from. So while
  samples arrive one by one, the number of draws grows with the logarithm of their number;
- more than a tenth of its samples or parts are no longer in the corpus.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pairs.draw import populations
from pipelines.pairs.embedded_samples import EmbeddedSamples
from store.config.signals import Pairs
from store.tables.lance_tables import Tables

GROWTH = 2
MOST_LEFT = 0.1  # of a bank's samples, or of the sentinels of a modality


def kept_draw(
    tables: Tables,
    name: str,
    columns: pa.Schema,
    key: str,
    samples: EmbeddedSamples,
    settings: Pairs,
) -> pa.Table | None:
    """The last draw, or None if there is none or it has to be made anew.

    Args:
        tables: of the corpus.
        name: of the table of draws.
        columns: its schema.
        key: the hash of the current settings.
        samples: of the corpus.
        settings: the section `pairs` of corpus.yaml.
    """
    keys = tables.scan(name, columns, ["draw"])["draw"]
    if pc.unique(keys).to_pylist() != [key]:
        return None
    drawn = tables.scan(name, columns)
    is_kept = not _is_outgrown(drawn, populations(samples, settings)) and _remains(drawn, samples)
    return drawn if is_kept else None


def _is_outgrown(drawn: pa.Table, now: dict[str, int]) -> bool:
    rows = drawn.filter(pc.equal(drawn["kind"], "population")).select(["name", "value"]).to_pylist()
    then = {row["name"]: row["value"] for row in rows}
    return any(count > then[name] and count >= GROWTH * then[name] for name, count in now.items())


def _remains(drawn: pa.Table, samples: EmbeddedSamples) -> bool:
    """Whether at most a tenth of the members left, of each kind and name."""
    members = drawn.filter(pc.is_valid(drawn["part_id"]))
    embedded = samples.embedded(members.select(["part_id"]))
    has_left = pc.invert(pc.is_in(members["part_id"], value_set=embedded))
    member = ["kind", "name", "number"]
    members = members.select(member).append_column("has_left", has_left)
    members = members.group_by(member).aggregate([("has_left", "max")])
    groups = members.group_by(["kind", "name"]).aggregate([("has_left_max", "mean")])
    return bool((pc.max(groups["has_left_max_mean"]).as_py() or 0) <= MOST_LEFT)
