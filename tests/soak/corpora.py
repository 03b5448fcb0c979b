"""Small corpora for the soak: which stages are made, by which engines, in which store."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from store.workspace import Workspace
from tests.helpers.corpus import CONFIG, deliver
from tests.helpers.flaky_store import FlakyProxy
from tests.helpers.stores import S3Server
from tests.soak.runs import Run

# The `engine` section by kind of corpus.
ENGINES: dict[str, dict[str, Any]] = {
    # Samples, signals, duplicates and decisions, with Beam in the process of the run.
    "curation": {"signals": "beam"},
    # All stages by `isotrope run`, on a Ray that it starts.
    "whole": {"signals": "ray"},
}
# Beam's worker is a process.
BEAM_WORKER = {
    "signals": "beam",
    "beam": {"options": {"direct_running_mode": "multi_processing", "direct_num_workers": 1}},
}
_SAMPLES = 20  # in each of two drops
_FIRST_TABLES = ("samples", "signals", "duplicates", "decisions", "ledger", "stages")


def deliver_drops(folder: Path) -> None:
    """Two drops that have samples in common, and a broken file."""
    deliver(folder / "first", _SAMPLES)
    deliver(folder / "second", _SAMPLES, first=_SAMPLES - 5)
    (folder / "first" / "broken.png").write_bytes(b"\x89PNG cut")


@dataclass
class SoakCorpus:
    """A corpus that is disturbed.

    Attributes:
        root: its folder.
        kind: one of ENGINES.
        proxy: between the runs and their object store. None: its tables are in a local folder.
        seconds: that an undisturbed run takes.
    """

    root: Path
    kind: str
    proxy: FlakyProxy | None = None
    seconds: float = 0.0

    def make(self, drops: Path, server: S3Server) -> None:
        """Write corpus.yaml and copy the drops, with their times, which are part of run keys."""
        config = yaml.safe_load(CONFIG) | {"engine": ENGINES[self.kind]}
        if self.proxy is not None:
            options = server.options(self.proxy.endpoint)
            config["tables"] = {"path": server.folder(), "options": options}
        self.root.mkdir()
        self._config.write_text(yaml.safe_dump(config))
        shutil.copytree(drops, self.root / "drops")

    @property
    def is_whole(self) -> bool:
        """Whether its runs make all stages."""
        return self.kind == "whole"

    @property
    def _config(self) -> Path:
        return self.root / "corpus.yaml"

    @contextmanager
    def engine(self, section: dict[str, Any]) -> Iterator[None]:
        """Runs that start in this block have another `engine` section."""
        before = self._config.read_text()
        self._config.write_text(yaml.safe_dump(yaml.safe_load(before) | {"engine": section}))
        yield
        self._config.write_text(before)

    def start(self) -> Run:
        """Start a run."""
        return Run(self.root, self.is_whole)

    def start_and_wait(self, chance: random.Random, share: float = 1.0) -> Run:
        """Start a run and wait for a random share of its time, or for its end."""
        run = self.start()
        run.wait(chance.uniform(0, share * self.seconds))
        return run

    @property
    def workspace(self) -> Workspace:
        """It, opened."""
        return Workspace.open(self.root)

    def table_names(self) -> list[str]:
        """The tables that its runs make."""
        names = self.workspace.tables.names()
        return names if self.is_whole else [name for name in names if name in _FIRST_TABLES]

    def delete(self) -> None:
        """Delete it."""
        self.workspace.tables.files.delete_folder("")
        shutil.rmtree(self.root)
