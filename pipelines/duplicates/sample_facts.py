"""What is known of every sample that near-duplicates are found by, and ranked by.

In memory: a row a sample, some 900 bytes, fingerprints of recordings (up to 5 kB) included only
where there are any.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.row_rules import passes, row_tests
from pipelines.policy.signal_columns import measured
from store.errors import InvariantError
from store.workspace import Workspace

PARTS = ("image", "audio", "text")  # a sample's first part is the first of these that it has
_KEY = [("drop", "ascending"), ("id", "ascending")]
_FINGERPRINTS = ["image_copies", "image_pdq_quality", "audio_fingerprint"]
_SIGNALS = ["image_width", "image_height", *_FINGERPRINTS]


def sample_facts(workspace: Workspace) -> pa.Table:
    """One row a sample, whatever drops it is in, sorted by id.

    Columns: id, drop (the first), image_id, audio_id, text_id, `row` (its row id in `samples`),
    `measured` (in `signals`), `passes` (the policy's tests of rows), `caption` (characters),
    `pixels`, image_copies, image_pdq_quality, audio_fingerprint.

    Raises InvariantError where `signals` has other rows than `samples`.
    """
    tables, tests = workspace.tables, row_tests(workspace.config.policy)
    columns = ["drop", "id", *(f"{p}_id" for p in PARTS)]
    samples = tables.open("samples").to_table(columns=columns, with_row_id=True)
    samples = samples.rename_columns([*columns, "row"]).sort_by(_KEY)
    wanted = dict.fromkeys([*_SIGNALS, "text_chars", *(test.signal for test in tests)])
    signals = measured(workspace, list(wanted))
    signals = signals.set_column(0, "drop", signals["drop"].cast("string")).sort_by(_KEY)
    places = tables.open("signals").to_table(columns=["drop", "id"], with_row_id=True)
    places = places.sort_by(_KEY)
    if not all(t[c].equals(samples[c]) for t in (signals, places) for c in ("drop", "id")):
        raise InvariantError(
            "signals lacks columns, or has other rows than samples; `isotrope run` measures every"
            " drop first"
        )
    pixels = pc.multiply(signals["image_width"].cast("int64"), signals["image_height"])
    more = {
        "measured": places["_rowid"],
        "passes": pa.array(passes(tests, signals)),
        "caption": pc.fill_null(signals["text_chars"], 0).cast("int64"),
        "pixels": pc.fill_null(pixels, 0),
        **{c: signals[c] for c in _FINGERPRINTS},
    }
    for name, column in more.items():
        samples = samples.append_column(name, column)
    samples = samples.sort_by([("id", "ascending"), ("drop", "ascending")])
    ids = samples["id"].combine_chunks()
    if len(ids) < 2:
        return samples
    first = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return samples.filter(pa.concat_arrays([pa.array([True]), first]))
