"""Floor 3: how tables are made. Beam pipelines (CPU and shuffle) and Ray jobs (models)."""

import logging

import store  # noqa: F401 (says how much Lance logs before a module here imports it)

logging.getLogger("apache_beam").setLevel(logging.ERROR)
# Beam warns on the root logger of Google clients that nobody here needs.
logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
