"""Serves the code location of a deployed Dagster: `isotrope dagster`.

Dagster's page and daemon are processes of their own, which load the definitions over gRPC.
"""

import os
import sys
from pathlib import Path

import dagster as dg
from dagster import DagsterError
from dagster._core.errors import DagsterHomeNotSetError
from dagster._core.launcher import DefaultRunLauncher

from orchestration import dagster_home
from orchestration.definitions import VARIABLE
from orchestration.reported_tables import report_tables
from store.errors import ConfigError
from store.workspace import Workspace


def serve(workspace: Workspace, host: str, port: int) -> None:
    """Bring Dagster's database up to date with the tables, then serve until the process is stopped.

    The database may be new, or older than the tables: partitions, materialisations and the limits
    of pools are written to it. The current process is replaced by Dagster's.

    Raises:
        ConfigError: DAGSTER_HOME is not set, or its dagster.yaml is not valid.
    """
    try:
        with dg.DagsterInstance.get() as instance:
            # The default launcher runs a run as a process of this server, so none outlives it.
            in_this_server = isinstance(instance.run_launcher, DefaultRunLauncher)
            dagster_home.fail_dead_runs(workspace, instance, page=in_this_server)
            dagster_home.set_pools(workspace, instance)
            dagster_home.add_partitions(workspace, instance)
            report_tables(workspace, instance)
    except DagsterHomeNotSetError:
        raise ConfigError(
            "the environment variable DAGSTER_HOME is not set: set it to the folder that contains"
            " the deployment's dagster.yaml"
        ) from None
    except DagsterError as error:
        raise ConfigError(f"Dagster cannot be opened: {error}") from error
    os.environ[VARIABLE] = str(workspace.root)
    os.execv(sys.executable, [sys.executable, *command(host, port)])


def command(host: str, port: int) -> list[str]:
    """Arguments of Python for the server of the code location."""
    root = Path(__file__).resolve().parents[1]
    module = ["-m", "orchestration.definitions", "--working-directory", str(root)]
    return ["-W", "ignore", "-m", "dagster", "api", "grpc", *module, "-h", host, "-p", str(port)]
