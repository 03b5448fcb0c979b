"""The assets that are made for each drop and that all spaces share: samples, signals."""

from assets.materialise import stage_asset
from assets.metadata import tables

samples = stage_asset(
    "samples",
    "The records of a drop: read, decoded once to verify them, hashed, stored unchanged.",
    "pipelines.samples.stage:ingest",
    tables.samples,
)

signals = stage_asset(
    "signals",
    "Measurements of every sample, stored once. The policy decides later, without models.",
    "pipelines.signals.stage:measure",
    tables.signals,
)
