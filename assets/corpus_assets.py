"""The assets that are made from all drops together, up to the release that is searched."""

import dagster as dg

from assets.materialise import CORPUS_GROUP, stage_asset
from assets.metadata import signals, tables
from assets.metadata.markdown import table
from store.tables.staging import stage_record
from store.workspace import Workspace

pairs = stage_asset(
    "pairs",
    "How well the parts of every sample fit each other, and compared with random others.",
    "pipelines.pairs.stage:measure_pairs",
    signals.pairs,
)

duplicates = stage_asset(
    "duplicates",
    "Samples that are copies or near-copies of another sample, which sample represents them, and"
    " samples that are too near to an evaluation set.",
    "pipelines.duplicates.stage:find_duplicates",
    tables.duplicates,
)

decisions = stage_asset(
    "decisions",
    "Which samples are kept under the policy of corpus.yaml. Takes seconds; no model runs.",
    "pipelines.decisions.stage:decide",
    tables.decisions,
)

banks = stage_asset(
    "banks",
    "Pairs set aside to fit corrections on, to choose among them, and to test the choice.",
    "pipelines.banks.stage:draw_banks",
    tables.banks,
)

gallery = stage_asset(
    "gallery",
    "What search reads: kept parts, with the chosen corrections compiled into their vectors.",
    "pipelines.gallery.stage:build_gallery",
    tables.gallery,
)

index = stage_asset(
    "index",
    "The indexes of the galleries, and how search probes them to reach the recall of corpus.yaml.",
    "pipelines.index.stage:index_galleries",
    tables.index,
)

release = stage_asset(
    "release",
    "Table versions that belong together, evaluated on test pairs, tagged and listed.",
    "pipelines.release.stage:make_release",
    tables.release,
)


# No stage: no table depends on the page, so its absence makes nothing out of date.
@dg.asset(group_name=CORPUS_GROUP, kinds={"html"}, deps=["decisions"])
def curation(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """Pages about curation: what was rejected and why, the values and extremes of every signal,
    duplicates, and which groups are excluded. One page over all drops, and one for each drop."""
    from pipelines.reports.curation.report import PAGE, write_curation

    page, *drop_pages = write_curation(corpus, corpus.root / PAGE)
    context.log.info(f"written: {page}")
    done = stage_record(corpus.tables, "decisions")
    metadata: dict[str, dg.MetadataValue] = {"page": dg.MetadataValue.path(page)}
    if drop_pages:
        metadata["pages of drops"] = table(("file",), [(path.name,) for path in drop_pages])
    return dg.MaterializeResult(
        metadata=metadata, data_version=dg.DataVersion(done["output"]) if done else None
    )
