"""export: the samples that the decisions keep, as files for others to read."""

from pipelines.export.stage import FORMATS, Exported, Options, export

__all__ = ["FORMATS", "Exported", "Options", "export"]
