"""The page about curation, written whenever decisions were made.

It is no stage: nothing reads it, so it has no place among what is missing or out of date, and
`isotrope run` makes tables alone. Dagster writes it with the corpus, `isotrope report curation`
whenever it is asked to.
"""

import dagster as dg

from assets.corpus import GROUP, decisions
from assets.report import table
from store.stage import record
from store.workspace import Workspace


@dg.asset(group_name=GROUP, kinds={"html"}, deps=[decisions])
def curation(
    context: dg.AssetExecutionContext, corpus: dg.ResourceParam[Workspace]
) -> dg.MaterializeResult:
    """What was rejected and why, every signal's values and extremes, duplicates, who is excluded:
    one page over all drops, and one of each."""
    from pipelines.curation import PAGE, write_curation

    whole, *drops = write_curation(corpus, corpus.root / PAGE)
    context.log.info(f"written: {whole}")
    done = record(corpus.tables, "decisions")
    apart = {"pages of drops": table(("file",), [(page.name,) for page in drops])} if drops else {}
    return dg.MaterializeResult(
        metadata={"page": dg.MetadataValue.path(whole), **apart},
        data_version=dg.DataVersion(done["output"]) if done else None,
    )
