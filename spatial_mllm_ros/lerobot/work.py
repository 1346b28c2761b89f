"""The folder beside a data set for what is not finished: one process at a time, gone at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..annotate.progress import claimed, progress_folder, removed
from ..recordings.errors import writing

KEPT = "rewards-"
"""What names of files begin with that are made once for all episodes."""
INSIDE = ".progress"


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """``.<name>.progress`` beside ``out``, or INSIDE it where that is on another disk than what is beside it.

    It stays where the block raises and a later run can go on with something.

    Raises:
        BagError: it cannot be written, others could have written to it, or another process works on this output.
    """
    with writing(out):
        folder = _place(out)
        lock = claimed(folder, out)
    with lock:
        try:
            yield folder
        except BaseException:
            if any(folder.glob(f"*{KEPT}*")):  # also progress on one, whose name begins with a dot
                raise
            removed(folder)
            raise
        removed(folder)


def _place(out: Path) -> Path:
    """On the disk of ``out``, behind all links: what is finished is renamed."""
    out = Path(os.path.realpath(out))
    if out.is_dir() and out.stat().st_dev != out.parent.stat().st_dev:
        return out / INSIDE
    return progress_folder(out)
