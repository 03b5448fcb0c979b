"""Where Dagster executes the steps of a run, as `engine.executor` of corpus.yaml says."""

import dagster as dg

from store.config.corpus_yaml import CorpusConfig
from store.errors import ConfigError


def executor(config: CorpusConfig | None) -> dg.ExecutorDefinition:
    """The executor of all jobs.

    A step is spawned, never forked, because Lance is not fork-safe.

    Args:
        config: of the corpus. None: steps run in the process of the run.

    Raises:
        ConfigError: the executor needs a package that is not installed.
    """
    name = "in_process" if config is None else config.engine.executor
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
