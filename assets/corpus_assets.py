"""The assets that are made from all drops together and that all spaces share."""

import dagster as dg

from assets.materialise import CORPUS_GROUP, MADE, OF_CORPUS, STAGE, stage_asset
from assets.metadata import tables
from assets.metadata.markdown import table
from store.tables.staging import stage_record
from store.workspace import Workspace

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


# No stage: no table depends on the page, so its absence makes nothing out of date.
@dg.asset(
    group_name=CORPUS_GROUP,
    kinds={"html"},
    deps=["decisions"],
    tags={STAGE: "curation", MADE: OF_CORPUS},
    code_version="1",
)
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
