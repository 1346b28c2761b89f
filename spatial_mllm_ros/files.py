"""Files and folders that appear whole or not at all: written beside their place, and renamed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from threading import get_native_id


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """An empty file beside ``path``, of the same suffix, to write to; it becomes ``path`` when the block ends well.

    It may then be read and written by whom a plainly written file may.

    Raises:
        OSError: named after ``path``; nothing is left behind, and what was at ``path`` is still there. A device or a
            pipe, ``/dev/null`` or ``/dev/stdout``, is not replaced but refused.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    beside = _beside(path)
    with _named(beside, path):
        try:
            beside.touch()
            mode = (path if path.is_file() else beside).stat().st_mode
            yield beside
            beside.chmod(mode)  # some libraries let nobody but the owner read
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file at once, text in UTF-8; see :func:`whole`."""
    with whole(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A new folder beside ``path``; it replaces ``path`` when the block ends well, unless the block removed it.

    Raises:
        OSError: named after ``path``; nothing is left behind, and what was at ``path`` is still there.
    """
    path = Path(path)
    beside = _beside(path)
    old = beside.with_name(f"{beside.name}.old")
    with _named(beside, path):
        try:
            shutil.rmtree(beside, ignore_errors=True)  # of a killed process of that number
            beside.mkdir()
            yield beside
            if beside.exists():
                if path.exists():
                    os.replace(path, old)
                os.replace(beside, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            for left in (beside, old):
                shutil.rmtree(left, ignore_errors=True)


def left_behind(path: Path) -> Iterator[Path]:
    """What writers of a file or folder left beside it because they were killed, or are still writing."""
    return path.parent.glob(f".{escape(path.name)}.[0-9]*")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{get_native_id()}{path.suffix}")


@contextmanager
def _named(beside: Path, path: Path) -> Iterator[None]:
    """Errors name the path that was asked for."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error.filename, int):
            raise
        name = os.fsdecode(error.filename or path).replace(str(beside), str(path))
        raise OSError(error.errno, error.strerror, name) from None
