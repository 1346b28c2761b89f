"""What takes the values of one piece of a recording out of its messages, as they pass: no image is kept."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import BadMessage
from ..messages import color_pixels, depth_pixels
from ..recordings.errors import BagError
from ..recordings.recording import Recording
from .stats import ImageStats, Stats
from .survey import Source
from .video import FARTHEST, MOST, NEAREST, VideoWriter, steps_of_depth

HELD = 30  # images that may come before one that is older


class Unusable(Exception):
    """The value of a source at a stamp cannot be used; the text says why."""

    def __init__(self, source: Source, stamp: int, why: str):
        super().__init__(why)
        self.source, self.stamp = source, stamp


class Sink(Protocol):
    """Takes messages of one source by their stamps."""

    def take(self, stamp: int, message: Callable[[], Any]) -> None: ...

    def finish(self) -> None: ...


class VectorSink:
    """Fills the rows of a vector.

    Attributes:
        rows: float32 [N, D], whole after :meth:`finish`.
    """

    def __init__(self, source: Source, chosen: NDArray[np.int64]):
        assert source.reader is not None
        self._source, self._reader = source, source.reader
        self._stamps, self._of = np.unique(chosen, return_inverse=True)
        self._place = {int(stamp): i for i, stamp in enumerate(self._stamps)}
        self._values = np.full((len(self._stamps), len(self._reader.names)), np.nan, np.float32)
        self.rows = self._values[:0]

    def take(self, stamp: int, message: Callable[[], Any]) -> None:
        at = self._place.get(stamp)
        if at is None or (read := message()) is None or (vector := self._reader(read)) is None:
            return
        self._values[at] = vector
        del self._place[stamp]  # the first one of a stamp counts

    def finish(self) -> None:
        """Raises Unusable where a value did not come."""
        if self._place:
            raise Unusable(self._source, next(iter(self._place)), "it is not there any more")
        self.rows = self._values[self._of]


class ImageSink:
    """Encodes a video, each image as often as it is chosen; closed by its owner.

    Attributes:
        stats: of the images, after :meth:`finish`.
    """

    def __init__(self, source: Source, chosen: NDArray[np.int64], path: Path, fps: int, size: tuple[int, int]):
        self._source, self._size, self._depth = source, size, source.coding == "depth"
        self._times = Counter(chosen.tolist())
        self._due = sorted(self._times, reverse=True)
        self._early: dict[int, Any] = {}
        self._writer = VideoWriter(path, fps, size, source.coding, source.name)
        self._number = 0
        depth, color = (1, MOST + 1, (FARTHEST - NEAREST) / MOST, NEAREST), (3, 256, 1 / 255, 0.0)
        self._counts = ImageStats(len(chosen), *(depth if self._depth else color))
        self.stats: Stats = {}

    def take(self, stamp: int, message: Callable[[], Any]) -> None:
        if stamp not in self._times or stamp in self._early or not self._due or stamp > self._due[0]:
            return
        if stamp != self._due[-1]:
            if stamp > self._due[-1]:
                self._early[stamp] = message()
                if len(self._early) > HELD:
                    raise Unusable(self._source, self._due[-1], "it does not come in order of time")
            return
        self._encode(stamp, message())
        while self._due and self._due[-1] in self._early:
            self._encode(self._due[-1], self._early.pop(self._due[-1]))

    def finish(self) -> None:
        """Raises Unusable where an image did not come."""
        if self._due:
            raise Unusable(self._source, self._due[-1], "it is not there any more")
        self.stats = self._counts.finish()

    def close(self, whole: bool) -> None:
        self._writer.__exit__(None if whole else Exception)

    def _encode(self, stamp: int, message: Any) -> None:
        image = self._pixels(stamp, message)
        for _ in range(self._times[stamp]):
            if self._counts.wants(self._number):
                self._counts.add(_linear(image) if self._depth else image)
            self._writer.write(steps_of_depth(image) if self._depth else image)
            self._number += 1
        self._due.pop()

    def _pixels(self, stamp: int, message: Any) -> NDArray:
        if message is None:
            raise Unusable(self._source, stamp, "a message that cannot be read")
        try:
            pixels = (depth_pixels if self._depth else color_pixels)(message)
            size = even(pixels.width, pixels.height)
            if size != self._size:
                (w, h), (width, height) = self._size, size
                raise BagError(f"{self._source.name} changes its size, from {w}x{h} to {width}x{height} pixels")
            return pixels.decode()[: size[1], : size[0]]
        except BadMessage as error:
            raise Unusable(self._source, stamp, str(error)) from None


def video_size(recording: Recording, source: Source) -> tuple[int, int]:
    """(width, height) of the videos of a source, by its first image that can be read.

    Raises:
        BagError: there is none.
    """
    read, why = depth_pixels if source.coding == "depth" else color_pixels, "no message can be read"
    for topic, _, data in recording.messages([source.topic.name]):
        message = recording.decoded_or_none(topic, data)
        try:
            if message is not None:
                pixels = read(message)
                return even(pixels.width, pixels.height)
        except BadMessage as error:
            why = str(error)
    raise BagError(f"{source.name} has no image for {source.feature}: {why}")


def even(width: int, height: int) -> tuple[int, int]:
    """The size of a video of such images: without the last column or row where these are odd."""
    return max(width // 2 * 2, 2), max(height // 2 * 2, 2)


def _linear(depth: NDArray[np.float32]) -> NDArray[np.int64]:
    """Depth in even steps, for statistics."""
    share = (np.nan_to_num(depth, nan=0.0) - NEAREST) / (FARTHEST - NEAREST)
    return np.rint(share * MOST).clip(0, MOST).astype(np.int64)
