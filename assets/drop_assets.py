"""The assets that are made for each drop: samples, signals, vectors."""

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

vectors = stage_asset(
    "vectors",
    "Every part that passes the prefilter, embedded once by a pool of Ray actors.",
    "pipelines.vectors.stage:embed",
    tables.vectors,
)
