"""Files beside the tables: the same on a local folder and on an S3 server."""

import pickle
from pathlib import Path

import pytest

from store.config.corpus_yaml import parse
from store.errors import ConfigError, NotFoundError, StoreError
from store.tables.files import Files
from store.tables.lance_tables import Tables
from store.workspace import Workspace
from tests.helpers.stores import S3Server

SOURCES = "sources: {photos: {path: photos}}\n"


def test_files_are_written_listed_copied_and_deleted(tables: Tables, tmp_path: Path) -> None:
    files = pickle.loads(pickle.dumps(tables.files))
    assert list(files.list()) == list(files.list("a")) == files.folders() == []
    with pytest.raises(NotFoundError):
        files.read("a/b.txt")
    files.write("a/b.txt", b"one")
    files.write("a/b.txt", b"two")
    files.write("a/c d/é%20.txt", b"three")
    files.write("ab/e.txt", b"")
    assert files.read("a/b.txt") == b"two"
    assert [(f.path, f.size) for f in sorted(files.list("a"), key=lambda f: f.path)] == [
        ("a/b.txt", 3),
        ("a/c d/é%20.txt", 5),
    ]
    assert files.folders() == ["a", "ab"]
    files.copy("a/b.txt", "x/y.txt")
    files.download("x/y.txt", tmp_path / "local")
    assert (tmp_path / "local").read_bytes() == b"two"
    files.upload(tmp_path / "local", "x/z.txt")
    assert files.read("x/z.txt") == b"two"
    assert files.exists("x/z.txt")
    files.delete(["x/z.txt", "x/none.txt"])
    assert not files.exists("x/z.txt")
    files.delete_folder("a")
    files.delete_folder("a")
    assert sorted(f.path for f in files.list()) == ["ab/e.txt", "x/y.txt"]


def test_a_file_is_created_once(tables: Tables) -> None:
    assert tables.files.create("lease", b"first")
    assert not tables.files.create("lease", b"second")
    assert tables.files.read("lease") == b"first"


def test_a_file_is_replaced_only_if_it_is_unchanged(s3: S3Server) -> None:
    files = Files(s3.folder(), s3.options())
    files.write("lease", b"one")
    _, tag = files.read_tagged("lease")
    assert files.replace("lease", b"two", tag)
    assert not files.replace("lease", b"three", tag)
    assert not files.replace("none", b"three", tag)
    assert files.read("lease") == b"two"


def test_more_files_than_one_request_deletes(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.tables.files._DELETE", 10)
    files = Files(s3.folder(), s3.options())
    for number in range(25):
        files.write(f"many/{number}", b"")
    files.delete_folder("many")
    assert not list(files.list())


def test_secrets_are_references(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(s3.folder(), {**s3.options(), "secret_access_key": {"env": "MY_SECRET"}})
    monkeypatch.setenv("MY_SECRET", "s3cr3t-value")
    assert tables.storage_options is not None
    assert tables.storage_options["secret_access_key"] == "s3cr3t-value"
    tables.files.write("a", b"")
    assert b"s3cr3t" not in pickle.dumps(tables)
    assert "s3cr3t" not in repr(vars(tables))
    monkeypatch.delenv("MY_SECRET")
    with pytest.raises(ConfigError, match="MY_SECRET is not set"):
        Files(tables.root, tables.files.options).read("a")


def test_a_profile_and_a_file_give_credentials(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        "[stamps]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    place = {n: s3.options()[n] for n in ("endpoint", "region", "allow_http")}
    (tmp_path / "key").write_text("testing\n")
    by_file = {"access_key_id": "testing", "secret_access_key": {"file": f"{tmp_path}/key"}}
    for options in ({"profile": "stamps"}, by_file):
        tables = Tables(s3.folder(), {**place, **options})
        tables.files.write("a", b"1")
        assert tables.files.read("a") == b"1"
        assert tables.storage_options is not None
        assert tables.storage_options["secret_access_key"] == "testing"
    with pytest.raises(ConfigError, match="nobody"):
        Files(s3.folder(), {**place, "profile": "nobody"}).read("a")


def test_a_store_that_refuses_is_one_typed_error(s3: S3Server) -> None:
    options = {**s3.options(), "endpoint": s3.endpoint.replace("http:", "https:")}
    with pytest.raises(StoreError) as error:
        Files("s3://no-such-bucket/x", s3.options()).write("a", b"")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="regoin"):
        Files(s3.folder(), {**options, "regoin": "x"}).read("a")


def test_corpus_yaml_names_the_store(tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text(
        SOURCES
        + "tables: {path: 's3://bucket/x', options: {allow_http: true, token: {env: TOKEN}}}\n"
    )
    tables = Workspace.open(tmp_path).tables
    assert tables.root == "s3://bucket/x"
    assert tables.files.options == {"allow_http": "true", "token": {"env": "TOKEN"}}
    (tmp_path / "corpus.yaml").write_text(SOURCES + "tables: made\n")
    assert Workspace.open(tmp_path).tables.root == f"{tmp_path}/made"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("ftp://x/y", "s3://, gs:// or az://"),
        ("{path: 's3://b', options: {secret_access_key: abc}}", "is a secret"),
        ("{path: 's3://b', options: {region: {envv: X}}}", "envv"),
        ("{address: 's3://b'}", "unknown key; allowed here: path, options"),
    ],
)
def test_wrong_addresses_and_plain_secrets_are_refused(given: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"{SOURCES}tables: {given}\n")
    assert problem in str(error.value)
    assert "abc" not in str(error.value)
