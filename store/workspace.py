"""The folder of a corpus: its corpus.yaml and its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import NotFoundError
from store.tables.stages import name_in_space

if TYPE_CHECKING:  # imported by `Workspace.open`, so that `isotrope --help` starts without them
    from store.config.corpus_yaml import CorpusConfig
    from store.config.sources import Source
    from store.tables.lance_tables import Tables


@dataclass(frozen=True)
class Workspace:
    """The folder of a corpus, its configuration and its tables, as one of its spaces sees them.

    Attributes:
        root: the folder.
        config: corpus.yaml. `config.space` is the space that stages by space are made in.
        tables: of the corpus.
        main: the same corpus in its main space, which `space:` of corpus.yaml names. None: this
            is the main space.
    """

    root: Path
    config: "CorpusConfig"
    tables: "Tables"
    main: "Workspace | None" = None

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

    def spaces(self) -> "list[Workspace]":
        """The corpus in each of its spaces, the main one first."""
        main = self.main or self
        return [main, *(main.of_space(name) for name in main.config.other_spaces)]

    def of_space(self, name: str | None) -> "Workspace":
        """The corpus in one of its spaces. None: in the main one.

        Raises:
            NotFoundError: corpus.yaml has no such space.
        """
        main = self.main or self
        if name in (None, main.config.space):
            return main
        if name not in main.config.spaces:
            spaces = ", ".join(main.config.spaces)
            raise NotFoundError(f"corpus.yaml has no space {name!r}; its spaces: {spaces}")
        return Workspace(
            main.root, main.config.model_copy(update={"space": name}), main.tables, main
        )

    def name_of(self, stage: str) -> str:
        """The name of a stage in this space: of its record, lock, staging and asset."""
        return name_in_space(stage, None if self.main is None else self.config.space)

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
