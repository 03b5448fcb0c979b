"""One contract for all ways to search: in process and over HTTP, each with and without asyncio."""

import asyncio
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import isotrope
from isotrope import all_of, any_of, errors, none_of
from orchestration.cli.main import main
from store.search.asynchronous import AsyncCorpus, AsyncSearch
from store.search.corpus import Corpus
from store.search.remote import RemoteCorpus
from store.search.remote_async import AsyncRemoteCorpus
from store.search.result import Result
from store.search.search import Search
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, DIM, picture
from tests.helpers.served import Served

WAYS = ["async", "http", "async http"]
BATCHES = (3, 5)  # among the kinds of inputs of random searches
Build = Callable[[Any], Any]  # from a corpus to a search


def random_search(rng: np.random.Generator, ids: list[str]) -> Build:
    """A random query of the small corpus: what it builds is the same for every corpus."""
    names = list(COLOURS)
    number = int(rng.integers(0, 60))
    text = f"a {names[rng.integers(len(names))]} square number {number}"
    image = picture(COLOURS[names[rng.integers(len(names))]], number)
    vector = rng.normal(size=DIM).astype(np.float32)
    vectors = rng.normal(size=(3, DIM)).astype(np.float32)
    kinds: list[dict[str, Any]] = [
        {"text": text},
        {"image": image},
        {"text": text, "image": image, "weights": [0.7, 0.3]},
        {"text": [text, "a grey square number 4"]},
        {"vectors": {"text": vector}},
        {"vectors": {"image": vectors}},
        {"ids": ids[rng.integers(len(ids))]},
        {"text": text, "negative": {"text": "a red square"}},
        {"vectors": {"text": vector}, "negative": {"vectors": {"image": vector[::-1].copy()}}},
    ]
    number_of_kind = int(rng.integers(len(kinds)))
    arguments = kinds[number_of_kind]
    is_compound = rng.random() < 0.2 and number_of_kind not in BATCHES
    gallery = ["image", "text", "any", "sample"][rng.integers(4)]
    method = ["auto", "none", "nnn", "csls"][rng.integers(4)]
    where = [None, "image_width >= 16", "key LIKE 'red-%'", "image_width > 9999"][rng.integers(4)]
    limit, offset = int(rng.integers(1, 20)), int(rng.integers(0, 5))
    select = [(), ("key",), ("key", "caption", "part_id", "thumbnail", "image_width")][
        rng.integers(3)
    ]
    floor = float(rng.normal(0, 0.3)) if rng.random() < 0.2 else None
    words = [None, None, "red number 15", "grey"][rng.integers(4)]
    words = words if method in ("auto", "none") else None

    def build(corpus: Any) -> Any:
        search = corpus.search(**arguments)
        if is_compound:
            other = corpus.search(vectors={"text": vector})
            search = all_of(search, any_of(other, corpus.search(text=text)), none_of(other))
        search = search.among(gallery).correct(method).limit(limit)
        search = search.offset(offset)
        search = search.where(where) if where else search
        search = search.select(*select) if select else search
        search = search.hybrid(words, weight=0.3) if words else search
        return search if floor is None else search.range(floor)

    return build


def run(way: str, stored: Workspace, server: Served, builds: list[Build]) -> list[Any]:
    """The results of searches, or the errors that they raise."""

    async def run_async(path: str | Path) -> list[Any]:
        at_once = asyncio.Semaphore(16)  # the queue of the server has an end
        async with isotrope.connect_async(path) as corpus:
            searches = [attempt_async(build, corpus, at_once) for build in builds]
            return await asyncio.gather(*searches)

    if way == "in process":
        return [attempt(build, isotrope.connect(stored.root)) for build in builds]
    if way == "http":
        with RemoteCorpus(server.url) as corpus:
            return [attempt(build, corpus) for build in builds]
    return asyncio.run(run_async(stored.root if way == "async" else server.url))


def attempt(build: Build, corpus: Any) -> Any:
    try:
        return build(corpus).run()
    except errors.IsotropeError as error:
        return error


async def attempt_async(build: Build, corpus: Any, at_once: asyncio.Semaphore) -> Any:
    try:
        async with at_once:
            return await build(corpus).run()
    except errors.IsotropeError as error:
        return error


@pytest.fixture(scope="module")
def expected(stored: Workspace, server: Served) -> tuple[list[Build], list[Any]]:
    rng = np.random.default_rng(0)
    gallery = isotrope.open_corpus(stored.root).gallery_dataset("image")
    ids = gallery.to_table(columns=["part_id"])["part_id"].to_pylist()
    builds = [random_search(rng, ids) for _ in range(200)]
    results = run("in process", stored, server, builds)
    answered = [r for r in results if isinstance(r, Result) and r.rows.num_rows]
    assert len(answered) > 100
    return builds, results


@pytest.mark.parametrize("way", WAYS)
def test_the_same_two_hundred_queries_give_identical_results(
    way: str, stored: Workspace, server: Served, expected: tuple[list[Build], list[Any]]
) -> None:
    builds, results = expected
    for actual, wanted in zip(run(way, stored, server, builds), results, strict=True):
        if isinstance(wanted, errors.IsotropeError):
            assert (type(actual), str(actual)) == (type(wanted), str(wanted))
            continue
        assert isinstance(actual, Result), actual
        assert actual.rows.schema == wanted.rows.schema
        assert actual.rows.to_pylist() == wanted.rows.to_pylist()  # to the last bit
        assert actual.remarks == wanted.remarks
        assert actual.to_json() == wanted.to_json()


WRONG: list[tuple[Build, type[Exception]]] = [
    (lambda c: c.search(text="x").among("audio"), errors.InputError),
    (lambda c: c.search(text="x").where("nonsense >"), errors.InputError),
    (lambda c: c.search(text="x").select("nonsense"), errors.NotFoundError),
    (lambda c: c.search(vectors={"text": [1.0] * DIM}).hybrid(), errors.InputError),
    (lambda c: any_of(c.search(text="x"), c.search(text="y")).correct("csls"), errors.InputError),
    (lambda c: c.search(text="x").correct("csls").hybrid("red"), errors.InputError),
    (lambda c: c.search(image=b"not a picture"), errors.InputError),
    (lambda c: c.search(image="/no/such/file.png"), errors.InputError),
    (lambda c: c.search(vectors={"text": [1.0, 2.0]}), errors.InputError),
    (lambda c: c.search(ids="0" * 32), errors.NotFoundError),
    (lambda c: c.search(text="x").release(99), errors.NotFoundError),
    (lambda c: c.search(audio=b"RIFF"), errors.IsotropeError),
]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_errors(way: str, stored: Workspace, server: Served) -> None:
    builds = [build for build, _ in WRONG]
    expected = run("in process", stored, server, builds)
    for (_, kind), wanted in zip(WRONG, expected, strict=True):
        assert isinstance(wanted, kind)
    for actual, wanted in zip(run(way, stored, server, builds), expected, strict=True):
        assert (type(actual), str(actual)) == (type(wanted), str(wanted))


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


def test_every_way_has_the_same_words() -> None:
    assert public(AsyncSearch) == public(Search)
    for name in (
        "run",
        "to_arrow",
        "to_list",
        "to_pandas",
        "to_polars",
        "show",
        "explain",
        "explain_row",
    ):
        assert inspect.iscoroutinefunction(getattr(AsyncSearch, name))
    words = {"search", "run", "release", "refresh", "close"}
    words |= {"sample", "samples", "thumbnail", "statistics"}
    for kind in (Corpus, RemoteCorpus, AsyncCorpus, AsyncRemoteCorpus):
        assert words <= public(kind), kind


def test_samples_thumbnails_and_explanations(stored: Workspace, server: Served) -> None:
    local, remote = isotrope.connect(stored.root), isotrope.connect(server.url)
    search = local.search(text="a red square number 15").select("part_id", "key")
    hit = search.to_list()[0]
    result = search.run()
    assert remote.sample(hit["id"]) == local.sample(hit["id"])
    assert remote.thumbnail(hit["part_id"]) == local.thumbnail(hit["part_id"])
    remote_hits = list(remote.search(text="a red square number 15").select("part_id", "key"))
    assert remote_hits[2].explain() == result.explain(2)
    for corpus in (local, remote):
        for wrong in ("../../etc/passwd", "0" * 31, "x' OR '1'='1"):
            with pytest.raises(errors.InputError):
                corpus.sample(wrong)
        with pytest.raises(errors.NotFoundError):
            corpus.thumbnail("0" * 32)

    async def explain(path: str | Path) -> Any:
        async with isotrope.connect_async(path) as corpus:
            explained = await corpus.search(text="a red square number 15").explain_row(2)
            return explained, await corpus.sample(hit["id"]), await corpus.thumbnail(hit["part_id"])

    for path in (stored.root, server.url):
        wanted = (result.explain(2), local.sample(hit["id"]), local.thumbnail(hit["part_id"]))
        assert asyncio.run(explain(path)) == wanted


def test_every_way_has_the_same_plan(
    stored: Workspace, server: Served, expected: tuple[list[Build], list[Any]]
) -> None:
    pairs = list(zip(*expected, strict=True))[:50]
    builds = [build for build, result in pairs if isinstance(result, Result)]

    async def plans(path: str | Path) -> list[Any]:
        async with isotrope.connect_async(path) as corpus:
            return [await build(corpus).explain() for build in builds]

    local = isotrope.connect(stored.root)
    wanted = [build(local).explain() for build in builds]
    assert len(wanted) > 25
    with isotrope.connect(server.url) as remote:
        assert [build(remote).explain() for build in builds] == wanted
        with pytest.raises(errors.InputError, match="has no audio gallery"):
            remote.search(text="x").among("audio").explain()
    for path in (stored.root, server.url):
        assert asyncio.run(plans(path)) == wanted


def test_samples_are_streamed_and_galleries_counted(stored: Workspace, server: Served) -> None:
    local = isotrope.connect(stored.root)
    query = local.search(text="a red square number 15").limit(12)
    ids = [row["id"] for row in query.to_list()]
    wanted = [row for batch in local.samples(ids) for row in batch.to_pylist()]
    assert [row["id"] for row in wanted] == ids

    async def read(path: str | Path) -> tuple[list[dict[str, Any]], Any]:
        async with isotrope.connect_async(path) as corpus:
            batches = [batch async for batch in corpus.samples(ids)]
            subset = corpus.subset(query)
            assert await subset.ids() == ids
            assert [batch async for batch in subset.samples()] == batches
            if path == server.url:
                with pytest.raises(errors.InputError, match="connect to the folder"):
                    await subset.export("parquet", "out")
            return [row for b in batches for row in b.to_pylist()], await corpus.statistics()

    with isotrope.connect(server.url) as remote:
        assert [row for batch in remote.samples(ids) for row in batch.to_pylist()] == wanted
        subset = remote.subset(query)
        assert [row for batch in subset.samples() for row in batch.to_pylist()] == wanted
        with pytest.raises(errors.InputError, match="connect to the folder"):
            subset.export("parquet", "out")
        assert remote.statistics() == local.statistics()
        with pytest.raises(errors.NotFoundError, match="no sample"):
            list(remote.samples(["0" * 32]))
        with pytest.raises(errors.InputError):
            list(remote.samples("0" * 32))
    for path in (stored.root, server.url):
        assert asyncio.run(read(path)) == (wanted, local.statistics())


@pytest.mark.parametrize("level", ["any", "sample", "image"])
def test_a_notebook_shows_the_same_view(stored: Workspace, server: Served, level: str) -> None:
    def search(corpus: Any) -> Any:
        return corpus.search(text=["a red square number 15", "grey"]).among(level).limit(8)

    async def view(path: str | Path) -> str:
        async with isotrope.connect_async(path) as corpus:
            return (await search(corpus).run())._repr_html_()

    with isotrope.connect(server.url) as remote:
        result = search(remote).run()
        actual = result._repr_html_()
    wanted = search(isotrope.connect(stored.root)).run()._repr_html_()
    assert wanted.count("<img") > 4
    assert [actual, asyncio.run(view(stored.root)), asyncio.run(view(server.url))] == [wanted] * 3
    assert "the corpus is closed" in result._repr_html_()


def test_the_release_is_described(stored: Workspace, server: Served) -> None:
    local, remote = isotrope.connect(stored.root).release, isotrope.connect(server.url).release
    assert {**vars(remote), "space_config": {}} == {**vars(local), "space_config": {}}
    assert remote.modalities == ["image", "text"]
    with pytest.raises(errors.InputError, match="colours"):
        isotrope.connect(server.url, space="other").release  # noqa: B018
    fixed = isotrope.connect(server.url, release=1).search(text="x").to_list()
    assert fixed == isotrope.connect(stored.root).search(text="x").to_list()


def test_what_is_no_server_has_a_clear_error(server: Served) -> None:
    with pytest.raises(errors.ServerError, match="does not answer"):
        isotrope.connect("http://127.0.0.1:1").search(text="x").to_list()
    with pytest.raises(errors.IsotropeError, match="Not Found"):
        isotrope.connect(f"{server.url}/elsewhere").search(text="x").to_list()


def test_the_command_line_searches_a_server(
    stored: Workspace, server: Served, tmp_path: Path
) -> None:
    np.save(tmp_path / "query.npy", np.random.default_rng(0).normal(size=DIM))
    words = ["--vector", f"text={tmp_path / 'query.npy'}", "--json", "--explain", "1"]
    outputs = []
    for corpus in (str(stored.root), server.url):
        result = CliRunner().invoke(main, ["search", "--corpus", corpus, *words])
        assert result.exit_code == 0, result.output
        outputs.append(json.loads(result.stdout))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]["hits"]) == 10
    for wrong in ("text", "text=/no/such/file.npy", f"smell={tmp_path / 'query.npy'}"):
        failed = CliRunner().invoke(main, ["search", "--corpus", server.url, "--vector", wrong])
        assert failed.exit_code == 1
        assert "Traceback" not in failed.output
