"""The folder beside a data set for what is not finished: one process at a time, gone at the end."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..annotate.progress import progress_folder
from ..recordings.errors import BagError, writing

KEPT = "rewards-"
"""What names of files begin with that are made once for all episodes."""


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """``.<name>.progress`` beside ``out``; it stays where the block raises and a later run can go on with something.

    Raises:
        BagError: it cannot be written, or another process works on this output.
    """
    folder = progress_folder(out)
    with writing(out):
        folder.mkdir(0o700, exist_ok=True)
        lock = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f"another process is writing {out}") from None
        try:
            yield folder
        except BaseException:
            if any(folder.glob(f"{KEPT}*")):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
