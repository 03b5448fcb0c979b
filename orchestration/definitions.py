"""What Dagster loads, by `dagster dev -m orchestration.definitions` or `isotrope dev`."""

import os

import dagster as dg

from assets import corpus_assets, drop_assets
from assets.checks import CHECKS
from orchestration.executors import executor
from orchestration.jobs import JOBS, SCHEDULES
from orchestration.sensors import SENSORS
from store.errors import ConfigError
from store.workspace import Workspace

VARIABLE = "ISOTROPE_CORPUS"


@dg.resource(description=f"The corpus in the folder that the environment variable {VARIABLE} names")
def corpus(context: dg.InitResourceContext) -> Workspace:
    """The corpus. It is opened for each run, because corpus.yaml may have changed.

    Raises:
        ConfigError: the variable is not set, or corpus.yaml is not valid.
        NotFoundError: the folder has no corpus.yaml.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise ConfigError(
            f"the environment variable {VARIABLE} is not set: set it to the folder of a corpus,"
            " which contains corpus.yaml (`isotrope dev` sets it)"
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
    executor=executor(os.environ.get(VARIABLE)),
)
