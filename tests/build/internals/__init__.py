"""What we reach into of libraries beyond what they promise: a row and a check each, against what is installed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What is reached into.

    Attributes:
        library: distribution on PyPI (of ROS, without ``ros-``).
        what: the thing, and how it has to behave.
        file, text: where we rely on it, and words that are there.
        check: raises what it likes where that does not hold; a folder to write in is its argument.
        module: what has to be importable for the check; else it is skipped.
    """

    library: str
    what: str
    file: str
    text: str
    check: Callable[[Path], None]
    module: str

    def __str__(self) -> str:
        return f"{self.library}: {self.what}"
