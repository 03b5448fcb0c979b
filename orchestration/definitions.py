"""What Dagster loads: `dagster dev -m orchestration.definitions`, or `isotrope dev`."""

import os

import dagster as dg

from assets import corpus_assets, drop_assets
from assets.checks import CHECKS
from orchestration.jobs import JOBS, SCHEDULES
from orchestration.sensors import SENSORS
from store.errors import ConfigError
from store.workspace import Workspace

VARIABLE = "ISOTROPE_CORPUS"


@dg.resource(description=f"The corpus in the folder that the environment's {VARIABLE} names.")
def corpus(context: dg.InitResourceContext) -> Workspace:
    """The corpus, opened anew for each run: corpus.yaml may have changed.

    Raises:
        ConfigError: the variable is not set, or corpus.yaml is not valid.
        NotFoundError: the folder has no corpus.yaml.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise ConfigError(
            f"{VARIABLE} is not set: it must name a corpus's folder, the one with corpus.yaml in"
            " it (`isotrope dev` sets it)"
        )
    return Workspace.open(folder)


ASSETS = dg.load_assets_from_modules([drop_assets, corpus_assets])
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
