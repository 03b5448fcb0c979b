"""Read the facts about every sample that near-duplicates are found and ranked by.

They are held in memory: about 900 bytes a sample, and up to 5 kB more for the fingerprint of a
recording.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.policy.row_rules import passes, row_tests
from pipelines.policy.signal_columns import measured
from pipelines.signals.incremental import parse_versions
from store.errors import InvariantError
from store.tables import schema
from store.workspace import Workspace

PARTS = ("image", "audio", "text")  # a sample's first part is the first of these that it has
_KEY = [("drop", "ascending"), ("id", "ascending")]
_FINGERPRINTS = ["image_copies", "image_pdq_quality", "audio_fingerprint"]
_SIGNALS = ["image_width", "image_height", *_FINGERPRINTS]


def sample_facts(workspace: Workspace) -> pa.Table:
    """One row a sample, sorted by id; a sample in several drops is listed under the first of them.

    Returns:
        Columns id, drop, image_id, audio_id, text_id; `row` and `measured` (row ids in `samples`
        and in `signals`); `passes` (whether it passes the policy's tests of single samples);
        `caption` (characters); `pixels`; image_copies, image_pdq_quality, audio_fingerprint.

    Raises:
        InvariantError: `signals` has other rows than `samples`, or lacks fingerprints.
    """
    _check_fingerprints(workspace)
    tables, tests = workspace.tables, row_tests(workspace.config.policy)
    columns = ["drop", "id", *(f"{p}_id" for p in PARTS)]
    samples = tables.open("samples").to_table(columns=columns, with_row_id=True)
    samples = samples.rename_columns([*columns, "row"]).sort_by(_KEY)
    names = dict.fromkeys([*_SIGNALS, "text_chars", *(test.signal for test in tests)])
    signals = measured(workspace, list(names))
    signals = signals.set_column(0, "drop", signals["drop"].cast("string")).sort_by(_KEY)
    signal_rows = tables.open("signals").to_table(columns=["drop", "id"], with_row_id=True)
    signal_rows = signal_rows.sort_by(_KEY)
    if not all(t[c].equals(samples[c]) for t in (signals, signal_rows) for c in ("drop", "id")):
        raise InvariantError(
            "signals lacks columns, or has other rows than samples; `isotrope run` measures the"
            " signals of every drop"
        )
    pixels = pc.multiply(signals["image_width"].cast("int64"), signals["image_height"])
    added = {
        "measured": signal_rows["_rowid"],
        "passes": pa.array(passes(tests, signals)),
        "caption": pc.fill_null(signals["text_chars"], 0).cast("int64"),
        "pixels": pc.fill_null(pixels, 0),
        **{c: signals[c] for c in _FINGERPRINTS},
    }
    for name, column in added.items():
        samples = samples.append_column(name, column)
    samples = samples.sort_by([("id", "ascending"), ("drop", "ascending")])
    ids = samples["id"].combine_chunks()
    if len(ids) < 2:
        return samples
    is_new_id = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return samples.filter(pa.concat_arrays([pa.array([True]), is_new_id]))


def _check_fingerprints(workspace: Workspace) -> None:
    """Check that the fingerprints that corpus.yaml needs were measured of every sample."""
    needed = workspace.config.fingerprint_scorers()
    if not needed:
        return
    rows = workspace.tables.scan("signals", schema.SIGNALS, ["scorers"])
    for scorers in pc.unique(rows["scorers"]).to_pylist():
        if missing := [name for name in needed if name not in parse_versions(scorers)]:
            raise InvariantError(
                f"signals lacks the fingerprints of {', '.join(missing)}; `isotrope run` measures"
                " the signals of every drop"
            )
