"""What Dagster loads, by `dagster dev -m orchestration.definitions` or `isotrope dev`."""

import os
from collections.abc import Iterable, Sequence

import dagster as dg

from assets import corpus_assets, drop_assets
from assets.checks import CHECKS
from orchestration.executors import executor
from orchestration.jobs import JOBS, SCHEDULES
from orchestration.sensors import SENSORS
from store.config import corpus_yaml
from store.config.corpus_yaml import CorpusConfig
from store.errors import ConfigError, IsotropeError
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


def config_of(folder: str | None) -> CorpusConfig | None:
    """corpus.yaml of a folder; None without a folder, and if it is not valid.

    The definitions must load without it. Each run reports the error itself.
    """
    try:
        return corpus_yaml.load(folder) if folder else None
    except IsotropeError:
        return None


def owned(
    assets: Iterable[dg.AssetsDefinition], config: CorpusConfig | None
) -> Sequence[dg.AssetsDefinition]:
    """The assets, with the owners of corpus.yaml."""
    owners = [] if config is None else list(config.owners)
    return dg.map_asset_specs(lambda spec: spec.replace_attributes(owners=owners), assets)


_CONFIG = config_of(os.environ.get(VARIABLE))
_LOADED = dg.load_assets_from_modules([drop_assets, corpus_assets])
ASSETS = owned((each for each in _LOADED if isinstance(each, dg.AssetsDefinition)), _CONFIG)
definitions = dg.Definitions(
    assets=ASSETS,
    asset_checks=CHECKS,
    resources={"corpus": corpus},
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    executor=executor(_CONFIG),
)
