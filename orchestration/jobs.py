"""Jobs and schedules: the tables of a drop, the tables of all drops, everything."""

import dagster as dg

from assets import by_drop, corpus
from assets.partitions import DROPS

_BY_DROP = dg.AssetSelection.groups(by_drop.GROUP)
_CORPUS = dg.AssetSelection.groups(corpus.GROUP)

drop_job = dg.define_asset_job(
    "drop",
    selection=_BY_DROP,
    partitions_def=DROPS,
    description="Samples, signals and vectors of one drop.",
)

corpus_job = dg.define_asset_job(
    "corpus",
    selection=_CORPUS,
    description="Duplicates, decisions, banks, gallery and a release, from all drops.",
)

everything_job = dg.define_asset_job(
    "everything",
    selection=_BY_DROP | _CORPUS,
    partitions_def=DROPS,
    description="One drop, and after it the corpus.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=corpus_job,
    cron_schedule="0 3 * * *",
    description="Makes what is out of date of the corpus at night; off until it is switched on.",
)

JOBS = [drop_job, corpus_job, everything_job]
