"""The files beside a video that are about it: subtitles, a text, metadata."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from posixpath import splitext
from typing import Any

from pipelines.sources.folder import extension_of, read_part
from pipelines.sources.records import role_of
from pipelines.sources.videos.cues import Cue, parse, text_between
from store import strict_json
from store.config.limits import Limits, Role
from store.errors import RecordError

SUBTITLES = ("srt", "vtt")
_ROLES: dict[str, Role] = {"srt": "text", "vtt": "text", "txt": "text", "json": "meta"}


@dataclass
class Side:
    """What the files beside one video say.

    Attributes:
        cues: of its subtitles.
        text: its text file, as delivered.
        meta: the object of its JSON file.
    """

    cues: list[Cue] = field(default_factory=list)
    text: bytes | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def words(self, start: float, end: float) -> bytes | None:
        """The caption of a span of time, in seconds: the subtitles shown in it, else the text."""
        return text_between(self.cues, start, end).encode() or self.text


class SideFiles:
    """The files beside the videos of a unit.

    Args:
        root: of the drop.
        paths: the videos, and the files beside them.
        limits: the largest sizes that are read.
    """

    def __init__(self, root: str, paths: Iterable[str], limits: Limits):
        self._root, self._paths, self._limits = root, set(paths), limits
        self._latest: tuple[str, Side | RecordError] = "", Side()

    def of(self, path: str) -> Side:
        """What is beside a video.

        Raises:
            RecordError: a file beside it is larger than its limit, is not UTF-8 or, where it should
                be, no JSON object.
        """
        if self._latest[0] != path:
            try:
                self._latest = path, self._read(splitext(path)[0])
            except RecordError as error:
                self._latest = path, error
        side = self._latest[1]
        if isinstance(side, RecordError):
            raise side
        return side

    def _read(self, stem: str) -> Side:
        side = Side()
        for extension, role in _ROLES.items():
            path = f"{stem}.{extension}"
            if path not in self._paths:
                continue
            data = read_part(self._root, path, role, self._limits)
            if extension in SUBTITLES:
                side.cues = side.cues or parse(strict_json.decode(data, "text.encoding"))
            elif role == "text":
                side.text = data
            else:
                meta = strict_json.parse(data, "meta.json")
                if not isinstance(meta, dict):
                    raise RecordError("meta.json", f"{path} is no JSON object")
                side.meta = meta
        return side


def beside(videos: Iterable[str], paths: Iterable[str]) -> list[str]:
    """The files about some videos: those with the name of one, and another extension.

    Where an image or a recording has the name too, its text and metadata are left out: they are of
    its own record.
    """
    stems = {splitext(video)[0] for video in videos}
    named = [path for path in paths if splitext(path)[0] in stems]
    taken = {splitext(p)[0] for p in named if role_of(extension_of(p)) in ("image", "audio")}
    return [
        path
        for path in named
        if (extension := extension_of(path)) in SUBTITLES
        or (extension in _ROLES and splitext(path)[0] not in taken)
    ]
