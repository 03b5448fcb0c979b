"""The folder of a corpus: its corpus.yaml and its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import NotFoundError

if TYPE_CHECKING:  # imported by `Workspace.open`, so that `isotrope --help` starts without them
    from store.config.corpus_yaml import CorpusConfig
    from store.config.sources import Source
    from store.tables.lance_tables import Tables


@dataclass(frozen=True)
class Workspace:
    """The folder of a corpus, its configuration and its tables."""

    root: Path
    config: "CorpusConfig"
    tables: "Tables"

    @classmethod
    def open(cls, folder: str | Path) -> "Workspace":
        """Read FOLDER/corpus.yaml. No table is opened.

        Raises:
            NotFoundError: there is no corpus.yaml.
            ConfigError: it is not valid.
        """
        from store.config import corpus_yaml
        from store.tables.lance_tables import Tables

        root = Path(folder).expanduser().resolve()
        config = corpus_yaml.load(root)
        path = config.tables.path
        address = path if "://" in path else str(root / path)
        scratch = config.engine.scratch
        tables = Tables(
            address,
            config.tables.model_dump()["options"],
            None if scratch is None else root / Path(scratch).expanduser(),
        )
        return cls(root, config, tables)

    def path(self, path: str) -> Path:
        """The absolute path for a path in corpus.yaml.

        Relative paths start at the corpus's folder, and `~` is the user's home.
        """
        return (self.root / Path(path).expanduser()).resolve()

    def file(self, field: str, path: str) -> Path:
        """The absolute path of a file that corpus.yaml names.

        Args:
            field: the field of corpus.yaml, for the error message.
            path: the value of the field.

        Raises:
            NotFoundError: there is no such file.
        """
        absolute = self.path(path)
        if not absolute.is_file():
            raise NotFoundError(f"{field}: there is no file {absolute}")
        return absolute

    def source_path(self, source: "Source") -> str:
        """The absolute path of a source's folder, or its URL."""
        path = source.path.removeprefix("file://").removeprefix("local://")
        return path if "://" in path else str(self.path(path))
