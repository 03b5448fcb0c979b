"""What a page of HTML holds, for tests."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and its text outside the style sheet."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.words += " "

    def handle_data(self, data):
        self.words += (
            "" if self.tags and self.tags[-1][0] == "style" else data.replace("\u200b", "")
        )

    @property
    def text(self) -> str:
        return " ".join(self.words.split())
