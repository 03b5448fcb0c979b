"""What a release takes over from the last one: chosen corrections, and weights of parts.

Both depend on the validation pairs, so both last as long as the draw of the banks. Weights are
learned anew also when many rows of the galleries came or left, because candidates are ranked there.
"""

from collections.abc import Mapping
from dataclasses import replace

from store import identity
from store.errors import NotFoundError
from store.tables.direction import Direction
from store.tables.part_weights import PartWeights
from store.tables.releases import Release
from store.tables.row_difference import row_difference
from store.tables.table_version import TableVersion

_MOST_CHANGED = 0.1  # of the rows of all galleries; beyond that, weights are learned anew


def kept_choices(last: Release | None, directions: Mapping[str, Direction]) -> dict[str, int]:
    """The number of the release in which a correction was chosen, by name of the direction.

    Directions that were chosen anew are left out.
    """
    if last is None:
        return {}
    before, now = (  # as hashes: a setting that was tried can have a result that is not a number
        {name: identity.run_key(vars(direction)) for name, direction in each.items()}
        for each in (last.directions, directions)
    )
    return {
        name: last.evaluation.get(name, {}).get("choice_kept_from", last.number)
        for name, key in now.items()
        if before.get(name) == key
    }


def kept_part_weights(
    last: Release | None,
    directions: Mapping[str, Direction],
    galleries: Mapping[str, TableVersion],
) -> dict[str, PartWeights] | None:
    """The weights of parts of the last release. None: they must be learned.

    Args:
        last: the release before this one. None: there is none, or this one is forced.
        directions: of this release, by name.
        galleries: of this release, by modality.
    """
    if last is None or not last.part_weights:
        return None
    if not kept_choices(last, directions).keys() == directions.keys() == last.directions.keys():
        return None
    changed = rows = 0
    for gallery in galleries.values():
        try:
            before = gallery.tables.open(gallery.name, last.tag)
        except NotFoundError:  # the last release is no longer kept
            return None
        now = gallery.open()
        changed += sum(map(len, row_difference(before, now)))
        rows += now.count_rows()
    kept = {m: replace(w, changed=w.changed + changed) for m, w in last.part_weights.items()}
    return kept if all(w.changed <= _MOST_CHANGED * rows for w in kept.values()) else None
