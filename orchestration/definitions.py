"""What Dagster loads: `dagster dev -m orchestration.definitions`, or `isotrope dev`."""

import dagster as dg

from assets import by_drop, curation
from assets import corpus as whole
from assets.checks import CHECKS
from orchestration.jobs import JOBS, SCHEDULES
from orchestration.resources import corpus
from orchestration.sensors import SENSORS

ASSETS = dg.load_assets_from_modules([by_drop, whole, curation])

definitions = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    resources={"corpus": corpus},
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    # Steps share a process: one import of Beam, Ray and the models a run, not one a step. The
    # run itself is a process that was spawned, never forked, which Lance needs.
    executor=dg.in_process_executor,
)
