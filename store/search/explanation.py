"""What explains the rank of a hit, as values; `store.search.explain` makes them."""

from dataclasses import dataclass

from store.html_table import html_table

MAX_RANK = 10_000  # raw ranks beyond this are not determined


@dataclass(frozen=True)
class Part:
    """What one input of the query contributes to the score.

    Attributes:
        modality: of the input.
        weight: of the input.
        method: the correction that the release has compiled for this direction.
        reason: why this method was selected.
        raw_score: cosine of input and item, not weighted.
        bias: what the correction subtracts from `raw_score`, not weighted.
        occurrence: the item's k-occurrence among the queries of the bank: in how many of their raw
            top tens it is. None without a bank.
        mean_occurrence: the mean of `occurrence` over the gallery. None without a bank.
        hub: whether `occurrence` is more than two standard deviations above the mean
            (Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR 11). None without a
            bank.
        query: the number of its query in a compound query; 0 in others.
    """

    modality: str
    weight: float
    method: str
    reason: str
    raw_score: float
    bias: float
    occurrence: int | None
    mean_occurrence: float | None
    hub: bool | None
    query: int = 0

    def hubness(self) -> str:
        """How often queries of the bank find the item, in words."""
        if self.occurrence is None:
            return "no bank to count in"
        return (
            f"in {self.occurrence:,} raw top tens of the bank's {self.modality} queries, where the"
            f" mean is {self.mean_occurrence:.2f}: {'a hub' if self.hub else 'no hub'}"
        )


@dataclass(frozen=True)
class Neighbour:
    """An item or a query close to the explained item; `similarity` is the cosine of the two."""

    key: str
    caption: str | None
    similarity: float


@dataclass(frozen=True)
class Word:
    """A word that an item was given; the weight of its best word is 1."""

    word: str
    weight: float


@dataclass(frozen=True)
class CountedPart:
    """What a part adds to its sample's score by learned weights (`store.tables.part_weights`).

    Attributes:
        modality: of the part.
        score: calibrated.
        weight: of the modality.
        offset: the score that counts as a missing part.
        adds: weight * (score - offset); of the best part also its score by its own weight.
    """

    modality: str
    score: float
    weight: float
    offset: float
    adds: float

    def __str__(self) -> str:
        return (
            f"{self.modality} part: {self.score:.4f} calibrated, weight {self.weight:.3f} above"
            f" {self.offset:.3f}, adds {self.adds:+.4f}"
        )


@dataclass(frozen=True)
class TokenMatch:
    """The token of an item that a token of a query matched, by late interaction.

    Attributes:
        modality: of the query's input.
        query: the number of its token, from 0, in the order of the text or of the patches. Of an
            input with more than 64 tokens, neighbours count as one.
        item: the number of the item's token, likewise.
        cosine: of the two.
        bias: of the item's token, which is subtracted.
    """

    modality: str
    query: int
    item: int
    cosine: float
    bias: float

    def __str__(self) -> str:
        return (
            f"{self.modality} token {self.query}: token {self.item} of the item,"
            f" {self.cosine:.3f} - {self.bias:.3f} bias = {self.cosine - self.bias:.3f}"
        )


@dataclass(frozen=True)
class Explanation:
    """One hit explained.

    Attributes:
        key: of the sample.
        caption: of the sample.
        modality: of the item.
        rank: in the result, from 1.
        raw_rank: rank by raw scores under the same condition. None if it is beyond 10,000.
        score: `raw_score` less `bias`, weighted over all inputs. Of a compound query: the joined
            calibrated score.
        raw_score: weighted over all inputs. Of a compound query: the joined score without
            corrections.
        bias: the difference of both.
        parts: the contribution of each input.
        items: the nearest items of the same gallery.
        queries: the nearest queries of the bank, by modality of the inputs.
        scores: the calibrated score by each query of a compound query. Empty for others.
        words: that the item was given by the section `words:` of corpus.yaml, best first.
        span: of the moment that was found, in words. Empty if no moments were searched.
        counted: what each part of the sample adds by learned weights, the best part first. Empty
            for other searches.
        tokens: what each token of the query matched by late interaction. Empty for other searches,
            and for an item without token vectors.
    """

    key: str
    caption: str | None
    modality: str
    rank: int
    raw_rank: int | None
    score: float
    raw_score: float
    bias: float
    parts: tuple[Part, ...]
    items: tuple[Neighbour, ...]
    queries: dict[str, tuple[Neighbour, ...]]
    scores: tuple[float, ...] = ()
    words: tuple[Word, ...] = ()
    span: str = ""
    counted: tuple[CountedPart, ...] = ()
    tokens: tuple[TokenMatch, ...] = ()

    def show(self) -> None:
        """Print the explanation."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        console.print(f"[bold]{escape(self.key)}[/bold] {escape((self.caption or '').strip())}")
        console.print(self._ranks())
        if self.span:
            console.print(f"moment: {self.span}")
        for number, score in enumerate(self.scores):
            console.print(f"by query {number}: {score:.4f} calibrated")
        for counted in self.counted:
            console.print(str(counted))
        for match in self.tokens:
            console.print(str(match), style="dim")
        for part in self.parts:
            of = f" of query {part.query}" if self.scores else ""
            text = f"{part.modality}{of}: {part.method}; {part.hubness()}"
            console.print(text, style="dim")
        if self.words:
            console.print(escape(self._words()), style="dim")
        table = Table("nearest", "", "cosine", pad_edge=False)
        for kind, text, similarity in self._nearest():
            table.add_row(kind, escape(text[:70]), f"{similarity:.3f}")
        console.print(table)

    def _repr_html_(self) -> str:
        """The explanation as a table in a notebook."""
        rows: list[tuple[str, str, float | None]]
        rows = [(f"{p.modality} query", f"{p.method}; {p.hubness()}", p.bias) for p in self.parts]
        if self.span:
            rows.append(("moment", self.span, None))
        rows += [("part of the sample", str(each), None) for each in self.counted]
        rows += [("token of the query", str(each), None) for each in self.tokens]
        if self.words:
            rows.append(("words of the item", self._words(), None))
        rows += [(f"nearest {kind}", text, cosine) for kind, text, cosine in self._nearest()]
        return html_table(f"{self.key}: {self._ranks()}", ("", "", "bias or cosine"), rows)

    def _words(self) -> str:
        return "words of the item: " + ", ".join(f"{w.word} {w.weight:.2f}" for w in self.words)

    def _ranks(self) -> str:
        raw_rank = f"more than {MAX_RANK:,}" if self.raw_rank is None else f"{self.raw_rank:,}"
        return (
            f"rank {self.rank}, by raw scores {raw_rank}: {self.raw_score:.4f} raw"
            f" - {self.bias:.4f} bias = {self.score:.4f}"
        )

    def _nearest(self) -> list[tuple[str, str, float]]:
        """(kind, caption or key, cosine) of the nearest items and queries."""
        pairs = [("item", item) for item in self.items]
        pairs += [(f"{m} query", query) for m, nearest in self.queries.items() for query in nearest]
        return [(kind, (n.caption or n.key).strip(), n.similarity) for kind, n in pairs]
