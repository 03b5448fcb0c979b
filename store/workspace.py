"""A corpus's folder: its corpus.yaml and its tables."""

from dataclasses import dataclass
from pathlib import Path

from store.config import corpus_yaml
from store.config.corpus_yaml import CorpusConfig
from store.config.sources import Source
from store.tables.lance_tables import Tables


@dataclass(frozen=True)
class Workspace:
    """Where a corpus lives, what it is configured to be, and its tables."""

    root: Path
    config: CorpusConfig
    tables: Tables

    @classmethod
    def open(cls, folder: str | Path) -> "Workspace":
        """Read FOLDER/corpus.yaml; no table is touched.

        Raises:
            NotFoundError: there is no corpus.yaml.
            ConfigError: it is not valid.
        """
        root = Path(folder).expanduser().resolve()
        settings = corpus_yaml.load(root)
        where = settings.tables
        return cls(root, settings, Tables(where if "://" in where else root / where))

    def source_path(self, source: Source) -> str:
        """A source's folder or URL; relative paths start at the corpus's folder."""
        path = source.path.removeprefix("file://").removeprefix("local://")
        return path if "://" in path else str((self.root / Path(path).expanduser()).resolve())
