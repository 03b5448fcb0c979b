"""The tables that are made of all drops together, up to the release that is searched.

Pipelines are imported where they run: Beam, Ray and models would slow every page load.
"""

import dagster as dg

from assets.drop_assets import samples, signals, vectors
from assets.materialise import forced, step
from assets.metadata import signals as show_pairs
from assets.metadata import tables
from assets.metadata.markdown import table
from store.tables.staging import record
from store.workspace import Workspace

GROUP = "corpus"


@dg.asset(group_name=GROUP, kinds={"lance"}, deps=[samples, vectors])
def pairs(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """How well the parts of every sample fit each other, alone and beside random others."""
    from pipelines.pairs.stage import measure_pairs

    return step(
        context,
        corpus,
        "pairs",
        make=lambda: measure_pairs(corpus, anew=forced(context, "pairs")),
        show=lambda: show_pairs.show(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"beam", "lance"}, deps=[samples, signals, vectors])
def duplicates(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Samples that are the same as another or near to it, and which of them stands for the others;
    samples near to what something is going to be evaluated on."""
    from pipelines.duplicates.stage import find_duplicates

    return step(
        context,
        corpus,
        "duplicates",
        make=lambda: find_duplicates(corpus),
        show=lambda: tables.duplicates(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"lance"}, deps=[signals, pairs, duplicates])
def decisions(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Which samples are kept under the policy of corpus.yaml. Seconds, and no model."""
    from pipelines.decisions.stage import decide

    return step(
        context,
        corpus,
        "decisions",
        make=lambda: decide(corpus),
        show=lambda: tables.decisions(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"lance"}, deps=[vectors, decisions])
def banks(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Pairs set aside to fit corrections on, to choose among them and to test the choice."""
    from pipelines.banks.stage import draw_banks

    return step(
        context,
        corpus,
        "banks",
        make=lambda: draw_banks(corpus, hold=not forced(context, "banks")),
        show=lambda: tables.banks(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"ray", "lance"}, deps=[vectors, decisions, banks])
def gallery(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """What search reads: kept parts, with the chosen corrections compiled in."""
    from pipelines.gallery.stage import build_gallery

    return step(
        context,
        corpus,
        "gallery",
        make=lambda: build_gallery(corpus),
        show=lambda: tables.gallery(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"lance"}, deps=[banks, gallery])
def release(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Table versions that belong together, evaluated on test pairs, tagged and listed."""
    from pipelines.release.stage import make_release

    return step(
        context,
        corpus,
        "release",
        make=lambda: make_release(corpus),
        show=lambda: tables.release(corpus),
    )


@dg.asset(group_name=GROUP, kinds={"html"}, deps=[decisions])
def curation(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """What was rejected and why, every signal's values and extremes, duplicates, who is excluded:
    one page over all drops, and one of each."""
    from pipelines.reports.curation.report import PAGE, write_curation

    whole, *drops = write_curation(corpus, corpus.root / PAGE)
    context.log.info(f"written: {whole}")
    done = record(corpus.tables, "decisions")
    apart = {"pages of drops": table(("file",), [(page.name,) for page in drops])} if drops else {}
    return dg.MaterializeResult(
        metadata={"page": dg.MetadataValue.path(whole), **apart},
        data_version=dg.DataVersion(done["output"]) if done else None,
    )
