"""What a server holds: the open release, the queue, the keys and the metrics.

A request keeps the corpus that it began with, so a reload disturbs no request: the new release is
opened and warmed beside the old one, and then takes its place.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestration.server.admission import OverloadedError, Place, RateLimit, WorkQueue
from orchestration.server.exports import Exports
from orchestration.server.keys import KeyFile
from orchestration.server.metrics import Metrics
from store.config.server import Server
from store.errors import AccessError, InputError, IsotropeError, NotFoundError
from store.search.batching import BatchedEncode
from store.search.corpus import Corpus
from store.search.query import Query
from store.search.wire import Answer
from store.workspace import Workspace

_log = logging.getLogger("isotrope.server")


class Service:
    """Serves one corpus. One without a release is served as soon as it has one.

    Args:
        corpus: opened at the newest release, or at a fixed one.
        settings: the limits.
        keys: the API keys.
        keys_required: refuse requests without a key even if there are no keys.
        folder: of corpus.yaml, for the policy and what it keeps. None: there is none.
        exports: where subsets are exported to. None: nowhere.
    """

    def __init__(
        self,
        corpus: Corpus,
        settings: Server,
        keys: KeyFile,
        keys_required: bool,
        folder: Path | None = None,
        exports: Exports | None = None,
    ):
        self._folder = folder
        self.exports = exports
        self.settings = settings
        self.keys = keys
        self.keys_required = keys_required
        self.metrics = Metrics()
        self.queue = WorkQueue(
            settings.threads or os.cpu_count() or 1, settings.queue, settings.timeout
        )
        self.rates = RateLimit(settings.requests_per_second, settings.burst)
        assert corpus.encoders is not None
        self.encode = BatchedEncode(corpus.encoders, self.metrics.count_batch)
        self.corpus = corpus.reopened(self.encode)
        self.ready = False
        # Opens a span of a trace; `orchestration.server.tracing` replaces it.
        self.span: Callable[[str], AbstractContextManager[Any]] = nullcontext

    def key_name(self, secret: str | None) -> str | None:
        """The name of the key that a request sends. None: no key is needed.

        Raises:
            AccessError: a key is needed, and this is none.
        """
        if not self.keys_required and not self.keys.keys:
            return None
        name = self.keys.name_of(secret) if secret else None
        if name is None:
            self.metrics.refused.labels("key").inc()
            raise AccessError("send an API key as the header `Authorization: Bearer KEY`")
        return name

    def workspace(self) -> Workspace:
        """The corpus with its present configuration.

        Raises:
            NotFoundError: the server has no corpus.yaml, only tables.
        """
        if self._folder is None:
            raise NotFoundError("the server was started with tables alone, without corpus.yaml")
        return Workspace.open(self._folder)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Place]:
        """Give a request a place in the queue. See `WorkQueue.admit`."""
        try:
            async with self.queue.admit() as place:
                yield place
        except OverloadedError as error:
            self.metrics.refused.labels(error.reason).inc()
            raise

    def answer(self, query: Query) -> Answer:
        """Run a query on the present release. Call it from a thread of the queue.

        Raises:
            IsotropeError: see `store.search.search.Search.run`.
        """
        rows = query.count * len(query.inputs)
        if rows > self.settings.rows:
            raise InputError(
                f"{len(query.inputs)} queries of {query.count} rows: this server returns at most"
                f" {self.settings.rows:,} rows in one answer"
            )
        corpus = self.corpus.at(query.number)
        # The queue ends the request in time. A timeout of its own would leave a thread behind.
        with self.span("search"):
            result = self.corpus.run(replace(query, seconds=None))
        return Answer(result, corpus.release.number)

    def start(self) -> None:
        """Open the release, if there is one already."""
        if _has_release(self.corpus):
            self._warm()
        else:
            _log.warning("the corpus has no release yet: waiting for the first one")

    def check_release(self) -> None:
        """Raise NotFoundError if the corpus has no release yet."""
        if not _has_release(self.corpus):
            raise NotFoundError(
                "the corpus has no release yet: `isotrope run` makes the first one, and the server"
                " opens it by itself"
            )

    def _warm(self) -> None:
        """Open the galleries of the release, so that the first query does not wait for it."""
        self._show_release()
        for modality in self.corpus.release.modalities:
            rows = self.corpus.gallery_dataset(modality).count_rows()
            self.metrics.release_rows.labels(modality).set(rows)
        self.ready = True

    async def watch(self) -> None:
        """Reload when there is a new release, and read the keys again when they have changed."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            await self.reload()

    async def reload(self) -> None:
        """Change to the newest release, if there is a newer one. Requests go on meanwhile.

        A takedown moves a release to other versions of its tables; that counts too.
        """
        try:
            await asyncio.to_thread(self._reload)
        except IsotropeError as error:
            # The old release goes on; the next look may succeed.
            self.metrics.reloads.labels("failed").inc()
            _log.error("reload failed: %s", error)

    def _reload(self) -> None:
        self.keys.refresh()
        corpus = self.corpus.reopened(self.encode)
        if not self.ready and not _has_release(corpus):
            return
        if self.ready and corpus.release == self.corpus.release:
            return
        for modality in corpus.release.modalities:
            corpus.gallery_dataset(modality).count_rows()
        self.corpus = corpus
        self._warm()
        self.metrics.reloads.labels("done").inc()
        _log.info("serving release %d", corpus.release.number)

    def show_load(self) -> None:
        """Bring the gauges of the metrics up to date."""
        self.metrics.inside.set(self.queue.inside)
        self.metrics.waiting.set(self.queue.waiting)

    def _show_release(self) -> None:
        release = self.corpus.release
        self.metrics.release.set(release.number)
        self.metrics.release_created.set(release.created_at.timestamp())


def _has_release(corpus: Corpus) -> bool:
    try:
        return corpus.release is not None
    except NotFoundError:
        return False
