"""What assets and sensors are given: the corpus that they work on."""

import os

import dagster as dg

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
