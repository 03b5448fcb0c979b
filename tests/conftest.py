"""Fixtures that many tests share: a Ray cluster, and one corpus that is made once."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings

from embedders.pool.ray_cluster import cluster
from store.tables import checksums
from store.tables.lance_tables import Tables
from store.workspace import Workspace
from tests.helpers.azure import AZURITE, AzureServer, azure_server
from tests.helpers.corpus import deliver, write_config
from tests.helpers.stages import make_stale_stages
from tests.helpers.stores import S3Server, s3_server

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("isotrope", deadline=None)  # tests are not timed
settings.load_profile("isotrope")
os.environ["COLUMNS"] = "200"  # tests read printed tables, which must not be cut
os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray, started once."""
    with cluster():
        yield


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Workspace:
    """Two drops of coloured squares with all stages up to a release. Tests must not change it."""
    root = tmp_path_factory.mktemp("squares")
    write_config(root)
    deliver(root / "drops" / "first", 500, languages=True)
    deliver(root / "drops" / "second", 120, first=480)
    (root / "drops" / "first" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (root / "drops" / "first" / "broken.txt").write_text("a red square that is cut")
    workspace = Workspace.open(root)
    make_stale_stages(workspace)
    return workspace


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The stored corpus. Tests must not change it."""
    from tests.helpers.served import stored_corpus  # imports the server, which few tests need

    return stored_corpus(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def squares_with_checksums(tmp_path: Path, squares: Workspace) -> Workspace:
    """A copy of `squares` that a test may change, with checksums of all files."""
    root = tmp_path / "squares"
    shutil.copytree(squares.root, root)
    workspace = Workspace.open(root)
    for name in workspace.tables.names():
        checksums.record(workspace.tables, name)
    return workspace


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server, started once."""
    with s3_server() as server:
        yield server


REMOTE = ["s3", *(["azure"] if AZURITE else [])]


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Tables:
    """New, empty tables on each kind of object store."""
    server = request.getfixturevalue(request.param)
    return Tables(server.folder(), server.options())


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """An emulator of Azure Blob Storage, started once."""
    with azure_server(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(params=["local", *REMOTE])
def new_tables(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Tables]:
    """Makes empty tables: in local folders, on the S3 server, and on Azurite if it is installed."""
    if request.param == "local":
        return lambda: Tables(mkdtemp(dir=tmp_path))
    server = request.getfixturevalue(request.param)
    return lambda: Tables(server.folder(), server.options(), tmp_path / "scratch")


@pytest.fixture
def tables(new_tables: Callable[[], Tables]) -> Tables:
    """New, empty tables, on each kind of store."""
    return new_tables()
