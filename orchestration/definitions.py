"""What Dagster loads, by `dagster dev -m orchestration.definitions` or `isotrope dev`."""

import os
from functools import partial
from pathlib import Path

import dagster as dg

from assets.checks import all_checks
from assets.links import links
from assets.materialise import MAIN_GROUP, STAGE, group_of_space
from assets.spaces import all_assets
from orchestration import json_logs
from orchestration.executors import executor
from orchestration.jobs import JOBS, SCHEDULES
from orchestration.monitoring import monitoring
from orchestration.sensors import SENSORS
from store.config import corpus_yaml
from store.config.corpus_yaml import CorpusConfig
from store.config.links import Links
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


def define(config: CorpusConfig | None, root: Path | None = None) -> dg.Definitions:
    """The definitions of a corpus: the assets of all its spaces, each space in a group of its own.

    Args:
        config: of the corpus. None: it is not known, so there is one space, without its name.
        root: the folder of the corpus, whose reports the assets link to.

    Raises:
        ConfigError: see `orchestration.executors.executor`.
    """
    others = [] if config is None else config.other_spaces
    checks = all_checks(others)
    watch = monitoring(checks)
    return dg.Definitions(
        assets=dg.map_asset_specs(partial(_described, config, root), all_assets(others)),
        asset_checks=checks,
        resources={"corpus": corpus},
        jobs=[*JOBS, *watch.jobs],
        schedules=[*SCHEDULES, watch.schedule],
        sensors=[*SENSORS, watch.sensor],
        executor=executor(config),
    )


def _described(config: CorpusConfig | None, root: Path | None, spec: dg.AssetSpec) -> dg.AssetSpec:
    """An asset with its links, its owners of corpus.yaml, and the name of the main space."""
    addresses = Links() if config is None else config.links
    shown = {**spec.metadata, **links(spec.tags[STAGE], root, addresses)}
    if config is None:
        return spec.replace_attributes(metadata=shown)
    is_main = spec.group_name == MAIN_GROUP
    group = group_of_space(config.space) if is_main else spec.group_name
    owners = list(config.owners)
    return spec.replace_attributes(owners=owners, group_name=group, metadata=shown)


_FOLDER = os.environ.get(VARIABLE)
_CONFIG = config_of(_FOLDER)
_ROOT = Path(_FOLDER).resolve() if _FOLDER else None
if json_logs.chosen(None, "text" if _CONFIG is None else _CONFIG.log_format) == "json":
    json_logs.configure()
definitions = define(_CONFIG, _ROOT)
