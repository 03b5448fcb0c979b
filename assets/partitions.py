"""Drops as Dagster's partitions: keys come and go with what the sources deliver."""

import dagster as dg

DROPS = dg.DynamicPartitionsDefinition(name="drop")
