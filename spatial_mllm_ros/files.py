"""Files that appear whole or not at all: written beside their place, and renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path beside ``path``, of the same suffix, to write to; it becomes ``path`` when the block ends well.

    Raises:
        OSError: named after ``path``; nothing is left behind. A device or a pipe, ``/dev/null`` or ``/dev/stdout``, is
            not replaced but refused.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if error.filename in (None, str(beside)):
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file at once; see :func:`whole`."""
    with whole(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
