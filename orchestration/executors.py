"""Where Dagster executes the steps of a run, as `engine.executor` of corpus.yaml says."""

import dagster as dg

from store.config import corpus_yaml
from store.errors import ConfigError, IsotropeError


def executor(folder: str | None) -> dg.ExecutorDefinition:
    """The executor of all jobs.

    A step is spawned, never forked, because Lance is not fork-safe.

    Args:
        folder: of the corpus. None, and a folder whose corpus.yaml is not valid: steps run in the
            process of the run. Each run reports the error itself.

    Raises:
        ConfigError: the executor needs a package that is not installed.
    """
    try:
        name = corpus_yaml.load(folder).engine.executor if folder else "in_process"
    except IsotropeError:
        name = "in_process"
    if name == "multiprocess":
        return dg.multiprocess_executor.configured({"start_method": {"spawn": {}}})
    if name == "k8s":
        try:
            from dagster_k8s import k8s_job_executor
        except ImportError:
            raise ConfigError(
                "engine.executor: k8s needs the package dagster-k8s: install isotrope[deploy]"
            ) from None
        return k8s_job_executor
    return dg.in_process_executor
