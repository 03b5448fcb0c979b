"""duplicates: samples that another one stands for, and those that must not be in the corpus."""

from pipelines.duplicates.stage import find_duplicates

__all__ = ["find_duplicates"]
