"""What the choice of samples that a space with `only_for` embeds depends on, for run keys."""

from typing import Any

from pipelines.policy.row_rules import hash_of_tests, pair_signals, row_tests
from pipelines.stages.context import StageContext
from store.config.policy import Policy
from store.tables.stage_records import StageRecords
from store.tables.stages import EVERY_DROP


def chosen_key(context: StageContext) -> list[Any]:
    """Hashes of the rules and of the main space's tables that they read; none without a limit."""
    main = context.workspace.main
    only_for = None if main is None else main.config.only_for(context.workspace.config.space)
    if main is None or only_for is None:
        return []
    tests = row_tests(only_for) if isinstance(only_for, Policy) else []
    snapshot = context.snapshot
    records = StageRecords.read(main.tables, EVERY_DROP) if snapshot is None else snapshot.records
    reads = ["decisions", *(["pairs"] if pair_signals([t.signal for t in tests]) else [])]
    done = [records.get(stage) for stage in reads]  # None: nothing is chosen yet
    return [hash_of_tests(tests), [None if each is None else each["output"] for each in done]]
