"""What can go wrong with a recording, in words for whoever named it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BagError(ValueError):
    """A recording, topic or output that cannot be used; the text says what was wrong and what would be right."""


class BagWarning(UserWarning):
    """A recording is used, but not all of it: it is cut off, damaged or lacks something."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError on the way to a recording at ``path`` becomes a BagError about it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        if not path.absolute().parent.is_dir():
            why = f"the folder {path.parent} does not exist"
        raise BagError(f"{path} cannot be written: {why}") from None


def exists_already(path: Path) -> BagError:
    return BagError(f"{path} exists already: choose another name, or --overwrite it")
