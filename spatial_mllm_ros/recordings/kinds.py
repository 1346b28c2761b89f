"""What frames can be read from: the kinds of recordings, how a path of each is told, and who reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..frames import Frame
from .errors import BagError
from .images import image_files, read_images
from .reader import read_frames
from .storage import is_recording
from .videos import is_video, read_video


@dataclass(frozen=True)
class Kind:
    """A kind of recording.

    Attributes:
        name: as people say it.
        fits: whether that is what lies at a path, which exists.
        read: frames of such a path, in order of time; with topics also takes a Config, and topics by name.
        topics: whether it has some.
    """

    name: str
    fits: Callable[[Path], object]
    read: Callable[..., Iterator[Frame]]
    topics: bool = False


KINDS = (
    Kind("a recording (.mcap, .db3 or .bag, or a bag folder)", is_recording, read_frames, topics=True),
    Kind("a folder of images", image_files, read_images),
    Kind("a video that can be decoded", is_video, read_video),
)
"""The first that fits a path is its kind."""


def kind_of(path: Path) -> Kind:
    """What lies at a path. Raises BagError, with all kinds there are, where it is none of them."""
    exists = path.exists()
    if exists and (kind := next((kind for kind in KINDS if kind.fits(path)), None)):
        return kind
    *others, last = (kind.name for kind in KINDS)
    what = "cannot be read" if exists else "does not exist"
    raise BagError(f"{path} {what}: expected {', '.join(others)} or {last}")


def read_any(path: str | Path, config: Config | None = None, **topics: Any) -> Iterator[Frame]:
    """Frames of whatever of KINDS lies at a path; see :func:`read_frames` for ``config`` and ``topics``.

    Raises:
        BagError: it is none of these, or topics were named for something that has none.
    """
    kind = kind_of(Path(path))
    if kind.topics:
        return kind.read(path, config, **topics)
    if named := [name for name, value in topics.items() if value]:
        raise BagError(f"{path} is {kind.name}, which has no topics: {', '.join(named)}")
    return kind.read(path)
