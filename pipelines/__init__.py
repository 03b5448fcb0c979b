"""Layer 3: how tables are made. Beam pipelines (CPU and shuffle) and Ray jobs (models)."""

import logging

import store  # noqa: F401 (sets Lance's log level before a module of pipelines imports Lance)

logging.getLogger("apache_beam").setLevel(logging.ERROR)
# Beam warns on the root logger about Google clients, which are not used.
logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
