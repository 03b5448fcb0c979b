"""The tables that are made drop by drop: samples, signals, vectors.

Pipelines are imported where they run: Beam, Ray and models would slow every page load.
"""

import dagster as dg

from assets.materialise import DROPS, delivered, step
from assets.metadata import tables
from store.workspace import Workspace

GROUP = "by_drop"


@dg.asset(partitions_def=DROPS, group_name=GROUP, kinds={"beam", "lance"})
def samples(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """A drop's records: read, decoded once to prove them whole, hashed, stored unchanged."""
    from pipelines.samples.stage import ingest

    name = context.partition_key
    return step(
        context,
        corpus,
        "samples",
        make=lambda: ingest(corpus, delivered(corpus, name)),
        show=lambda: tables.samples(corpus, name),
    )


@dg.asset(partitions_def=DROPS, group_name=GROUP, kinds={"beam", "ray", "lance"}, deps=[samples])
def signals(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Measurements of every sample, each scorer's once. Facts; the policy judges later."""
    from pipelines.signals.stage import measure

    name = context.partition_key
    return step(
        context,
        corpus,
        "signals",
        make=lambda: measure(corpus, name),
        show=lambda: tables.signals(corpus, name),
    )


@dg.asset(partitions_def=DROPS, group_name=GROUP, kinds={"ray", "lance"}, deps=[samples, signals])
def vectors(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Every part that the prefilter lets through, embedded once by a pool of actors."""
    from pipelines.vectors.stage import embed

    name = context.partition_key
    return step(
        context,
        corpus,
        "vectors",
        make=lambda: embed(corpus, name),
        show=lambda: tables.vectors(corpus, name),
    )
