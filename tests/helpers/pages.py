"""Reads the tags and the text of an HTML page."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text without the style sheet.

    Attributes:
        tags: (name, attributes) in the order of the page.
        text: what a reader sees, with single spaces.
    """

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._text += " "

    def handle_data(self, data):
        if not self.tags or self.tags[-1][0] != "style":
            self._text += data.replace("\u200b", "")  # where a line may be broken

    @property
    def text(self) -> str:
        return " ".join(self._text.split())
