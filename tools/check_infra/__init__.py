"""Checks of `infra/` that need no cluster and no network: `python -m tools.check_infra`."""
