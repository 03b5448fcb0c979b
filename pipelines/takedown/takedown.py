"""Removes samples and parts from every table, kept release, cache and page of a corpus.

1. Select (`selection`), and write the plan (`plan`): no stage starts from now on.
2. Wait until running stages have ended. Delete all staging, caches and sums of projections.
3. Write the data files again that hold a row of the selection, for all versions that are kept, and
   move the tags of releases (`store.tables.purge`). Searches go on.
4. Delete old versions and files of no version. Delete pages, and shards of exports (`exports`).
   Write the receipt, delete the plan.

Each step can be repeated, so a takedown that was killed is finished by `resume`.
"""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pipelines.policy import duplicate_index
from pipelines.takedown import exports, item_words, records, rules
from pipelines.takedown.plan import Plan, read_plan, write_plan
from pipelines.takedown.receipt import Receipt, write_receipt
from pipelines.takedown.selection import Selection, select
from store.tables import checksums, maintain, projections, purge, releases, staging, takedowns
from store.tables.lance_tables import Tables
from store.workspace import Workspace

WAIT_SECONDS = 600.0
PAGES = ("report.html", "reports")  # in the corpus's folder; `isotrope report` makes them again


def take_down(
    workspace: Workspace, selection: Selection, reason: str = "", wait: float = WAIT_SECONDS
) -> Receipt:
    """Remove what a selection matches, and keep it out when it is delivered again.

    Args:
        workspace: the corpus.
        selection: what is removed.
        reason: kept with the hashes and in the receipt. It should name no person.
        wait: how long to wait for each running stage, in seconds.

    Raises:
        NotFoundError: keys or sources are given, and no record has them.
        BusyError: a stage is still running; `resume` finishes the takedown later.
        DamagedTableError: a table cannot be read.
    """
    resume(workspace, wait)
    selected = select(workspace.tables, selection)
    write_plan(workspace.tables, Plan.of(selected, reason))
    receipt = resume(workspace, wait)
    assert receipt is not None
    return receipt


def resume(workspace: Workspace, wait: float = WAIT_SECONDS) -> Receipt | None:
    """Finish the takedown that is in progress; None if there is none. As `take_down`."""
    tables = workspace.tables
    if read_plan(tables) is None:
        return None
    with ExitStack() as stack:
        stack.enter_context(tables.lock("takedown", timeout=wait))
        stack.enter_context(tables.lock(maintain.LOCK, timeout=wait))
        if (plan := read_plan(tables)) is None:  # another process has just finished it
            return None
        takedowns.block(tables, plan.samples, plan.blocked, plan.reason)
        for folder in tables.files.folders(staging.ROOT):
            stack.enter_context(tables.lock(f"run-{folder}", timeout=wait))
        tables.files.delete_folder(staging.ROOT)
        tables.files.delete([duplicate_index.FILE])
        projections.delete_sums(tables)
        if not plan.newest:
            newest = {name: tables.version(name) for name in tables.names()}
            vectors = rules.vector_hashes(tables, plan)
            words = item_words.lost_words(tables, plan.samples)
            plan = replace(plan, newest=newest, vectors=vectors, words=words)
            plan = write_plan(tables, plan)
        records.forget_stages(tables, plan.drops)
        plan = _purge(tables, plan)
        releases.follow_tags(tables)
        records.add_entries(tables, plan)
        for drop in plan.drops:
            records.count_again(tables, drop)
        freed = sum(purge.delete_old_versions(tables, name) for name in plan.removed)
        for name in plan.removed:
            checksums.record(tables, name)
            checksums.forget_deleted(tables, name)
        _delete_pages(workspace)
        removed = exports.take_out(tables, plan.samples, plan.started_at, wait)
        receipt = write_receipt(tables, plan, freed, removed)
        tables.files.delete([takedowns.PLAN])
    return receipt


def _purge(tables: Tables, plan: Plan) -> Plan:
    """Write the tables again that are not done yet."""
    for name, newest in plan.newest.items():
        rule = rules.rule_of(tables, plan, name)
        if rule is not None and name not in plan.removed:
            rows = purge.purge_rows(tables, name, rule, newest)
            plan = write_plan(tables, plan.with_removed(name, rows))
    return plan


def _delete_pages(workspace: Workspace) -> None:
    for name in PAGES:
        path = Path(workspace.root, name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
