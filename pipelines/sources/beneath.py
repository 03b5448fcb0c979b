"""Open files below a folder so that no link leads out of it, even one that is made meanwhile.

Checking a path first and opening it by name afterwards leaves time to replace a folder or a file by
a link. Here, each component is opened relative to the handle of its parent and never followed by
the operating system. Links inside the folder are read and followed by this module, as the same kind
of walk.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # Linux's own limit


class OutsideError(Exception):
    """A path or link leads out of the folder."""


@contextmanager
def parent_of(root: str, path: str, *, follow: bool = True) -> Iterator[tuple[int, str]]:
    """The handle of the folder that a path is in, and its name there ("." for `root` itself).

    Args:
        root: the folder. It may be a link.
        path: relative to it; absolute paths are allowed if they lead into it.
        follow: if the path names a link, give the parent and name of its target.

    Raises:
        OutsideError: the path leads out of `root`.
        OSError: a folder on the way does not exist or cannot be opened.
    """
    handles = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        yield _walk(root, path, handles, follow)
    finally:
        for handle in handles:
            os.close(handle)


def _walk(root: str, path: str, handles: list[int], follow: bool) -> tuple[int, str]:
    """Open each folder of a path. `handles` are the open folders, from `root` on."""
    parts = _parts(root, path, handles)
    links = 0
    while parts:
        name = parts.pop(0)
        if name == "..":
            if len(handles) == 1:
                raise OutsideError
            os.close(handles.pop())
            continue
        handle = os.open(name, _HANDLE, dir_fd=handles[-1])
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode) and (parts or follow):
            try:
                target = os.readlink("", dir_fd=handle)
            finally:
                os.close(handle)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            parts = _parts(root, target, handles) + parts
        elif parts:
            handles.append(handle)
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        else:
            os.close(handle)
            return handles[-1], name
    return handles[-1], "."


def _parts(root: str, path: str, handles: list[int]) -> list[str]:
    """The components of a path. An absolute path starts again at `root`."""
    if path.startswith("/"):
        # This only finds out which components to walk; the walk checks each of them.
        real_root, path = os.path.realpath(root), os.path.realpath(path)
        if os.path.commonpath([real_root, path]) != real_root:
            raise OutsideError
        path = os.path.relpath(path, real_root)
        while len(handles) > 1:
            os.close(handles.pop())
    return [part for part in path.split("/") if part not in ("", ".")]
