"""The folder beside a data set for what is not finished: one process at a time, gone at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..annotate.progress import claimed, progress_folder, removed
from ..recordings.errors import writing

KEPT = "rewards-"
"""What names of files begin with that are made once for all episodes."""


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """``.<name>.progress`` beside ``out``; it stays where the block raises and a later run can go on with something.

    Raises:
        BagError: it cannot be written, others could have written to it, or another process works on this output.
    """
    folder = progress_folder(out)
    with writing(out):
        lock = claimed(folder, out)
    with lock:
        try:
            yield folder
        except BaseException:
            if any(folder.glob(f"{KEPT}*")):
                raise
            removed(folder)
            raise
        removed(folder)
