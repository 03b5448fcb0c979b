"""A client of `isotrope serve`: the words of a corpus, answered over HTTP."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Self

import pyarrow as pa
from pydantic import TypeAdapter

from store.identity import check_id
from store.search.cards import CARD_COLUMNS, MAX_RECORDING, Card
from store.search.connection import Address, Connection, Waits
from store.search.explanation import Explanation
from store.search.plan import Plan
from store.search.query import Query
from store.search.release_items import Original
from store.search.result import Result
from store.search.sample_batches import MEDIA, Batcher, checked_ids, media_path
from store.search.search import Search, Searchable
from store.search.statistics import Statistics
from store.search.subset import Subset
from store.search.suggestion import Suggestion
from store.search.wire import read_arrow
from store.tables.lance_tables import one_of
from store.tables.releases import Release
from store.tables.schema import MODALITIES

EXPLANATION = TypeAdapter(Explanation)
PLAN = TypeAdapter(Plan)
STATISTICS = TypeAdapter(Statistics)
SUGGESTIONS = TypeAdapter(list[Suggestion])


class RemoteCorpus(Searchable[Search]):
    """A corpus on a server. `isotrope.connect("http://...")` makes it. Threads may share it.

    Args:
        url: of the server.
        api_key: that the server has given out.
        space: raise InputError if the server serves another one.
        number: of the release to search. None: the one that the server serves at the time.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        space: str | None = None,
        number: int | None = None,
    ):
        self._server = Connection(Address(url, api_key, space, number))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.address.url!r})"

    @cached_property
    def release(self) -> Release:
        """The release that the server serves, without the configuration of its space."""
        return self._server.address.release(json.loads(self._server.send("GET", "/release")))

    def refresh(self) -> Self:
        """Read `release` anew when it is next used. Searches always use the server's release."""
        self.__dict__.pop("release", None)
        return self

    def run(self, query: Query) -> Result:
        """Run a query on the server.

        Raises:
            IsotropeError: see `Search.run`; AccessError, BusyError, ServerError.
        """
        request = self._server.address.post(query)
        result, release = read_arrow(
            self._server.send("POST", "/search", Waits(query.seconds), **request)
        )

        def cards(count: int) -> list[Card]:
            return self.cards(query.release(release), result.rows.slice(0, count))

        explain_row = partial(self._explain, request)
        return replace(result, explain_row=explain_row, read_cards=cards)

    def plan(self, query: Query) -> Plan:
        """What a query will do. See `Search.explain`."""
        request = self._server.address.post(query)
        return PLAN.validate_json(self._server.send("POST", "/plan", **request))

    def suggest(self, query: Query, count: int = 5) -> list[Suggestion]:
        """Changes of a query's text. See `Search.suggest`."""
        request = self._server.address.post(query)
        content = self._server.send("POST", "/suggest", params={"count": count}, **request)
        return SUGGESTIONS.validate_json(content)

    def sample(self, sample_id: str) -> dict[str, Any]:
        """The facts about a sample. See `store.search.release_items.describe_sample`."""
        return json.loads(self._server.send("GET", f"/samples/{check_id(sample_id)}"))

    def samples(self, ids: Sequence[str]) -> Iterator[pa.Table]:
        """Stream samples with their media. See `store.search.sample_batches.read_samples`.

        Each sample and each of its media is a request. An unknown id raises NotFoundError when the
        stream reaches it.
        """
        batcher = Batcher()
        for each in checked_ids(ids):
            row = self.sample(each)
            for modality in MEDIA:
                path = media_path(row, modality)
                row[modality] = self._server.send("GET", path) if path else None
            if (full := batcher.add(row)) is not None:
                yield full
        if (last := batcher.rest()) is not None:
            yield last

    def subset(self, query: Query) -> Subset:
        """The samples of a query's result, to stream. An export needs the folder of the corpus."""
        return Subset(self, query.value, None)

    def statistics(self) -> Statistics:
        """Measure the galleries. See `store.search.statistics.describe_galleries`."""
        return STATISTICS.validate_json(self._server.send("GET", "/statistics"))

    def thumbnail(self, part_id: str) -> bytes:
        """The thumbnail of a part, a JPEG. See `store.search.release_items.thumbnail`."""
        return self._server.send("GET", f"/thumbnails/{check_id(part_id)}")

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bind(self, query: Query) -> Search:
        return Search(query.inputs, query.is_batch, runner=self)

    def _explain(self, request: Mapping[str, Any], row: int) -> Explanation:
        content = self._server.send("POST", "/explain", params={"row": row}, **request)
        return EXPLANATION.validate_json(content)

    def cards(self, query: Query, rows: pa.Table) -> list[Card]:
        """The cards of rows of a query's result, in one search and a request for each recording."""
        ids = one_of("id", rows["id"].to_pylist())
        gallery = query.gallery if query.gallery in MODALITIES else "any"
        alone = Query(query.inputs[:1], gallery=gallery, number=query.number)
        card_query = alone.correct("none").where(ids).select("part_id", *CARD_COLUMNS)
        cards = {}
        for row in self.run(card_query.limit(len(MODALITIES) * rows.num_rows)).rows.to_pylist():
            card = Card(row["key"], row["caption"], row["thumbnail"])
            if row["modality"] == "audio":
                card = card._replace(recording=self._recording(row["part_id"]))
            cards[row["modality"], row["id"]] = card
        keys = zip(rows["modality"].to_pylist(), rows["id"].to_pylist(), strict=True)
        return [cards.get(key, Card(key[1])) for key in keys]

    def _recording(self, part_id: str) -> Original | None:
        """A recording. None if it is too large for a view; then it is not read."""
        response = self._server.read_up_to(f"/audio/{check_id(part_id)}", MAX_RECORDING)
        if response is None:
            return None
        return Original(response.content, response.headers.get("content-type", ""))
