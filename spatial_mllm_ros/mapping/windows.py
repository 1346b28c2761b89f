"""Which frames go through the model together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import VggtParams
from ..frames import Frame

THUMBNAIL = (32, 24)  # pixels
PATIENCE_NS = 2_000_000_000  # after which a window goes with the frames it has


@dataclass(eq=False)
class _Camera:
    """Frames of one camera: waiting for a window, and those of the last good window that the next sees again."""

    waiting: list[Frame] = field(default_factory=list)
    shared: list[Frame] = field(default_factory=list)
    every: int = 1  # of the pictures that are new, every so many-th waits
    count: int = 0
    thumbnail: NDArray[np.uint8] | None = None
    newest_ns: int = 0


class FrameWindows:
    """Frames in, windows of ``vggt.window`` frames of one camera out, the first ``vggt.shared`` known from the last.

    A frame is new when the picture has changed by ``vggt.min_motion`` since the last new one. Where the model is slower
    than frames come, only every 2nd, 4th ... new frame waits, so that at most two windows of frames wait and they show
    all of the way evenly; they are held here beside what the memory holds. Thread safe.

    Args:
        params: of windows.
        limit: bytes of waiting frames of a camera, as they arrived, beyond which fewer wait, though never less than 2.
    """

    def __init__(self, params: VggtParams, limit: float = np.inf):
        self._params, self._limit = params, limit
        self._lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        with self._lock:
            self._cameras: dict[str, _Camera] = {}

    def offer(self, frame: Frame) -> bool:
        """Take a frame where its picture is new; whether it waits now. Frames of one camera come in order of time.

        Raises:
            BadMessage: the image cannot be decoded; nothing changes.
        """
        if (gray := frame.gray) is None:
            return False
        thumbnail = np.asarray(cv2.resize(gray, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        with self._lock:
            camera = self._cameras.setdefault(frame.camera.name, _Camera())
            camera.newest_ns = frame.stamp_ns
            least = 255 * self._params.min_motion
            if camera.thumbnail is not None and float(cv2.absdiff(thumbnail, camera.thumbnail).mean()) < least:
                return False
            camera.thumbnail = thumbnail
            camera.count += 1
            if (camera.count - 1) % camera.every:
                return False
            camera.waiting.append(frame)
            nbytes = sum(waiting.nbytes for waiting in camera.waiting)
            if len(camera.waiting) > 2 * self._params.window or (len(camera.waiting) > 2 and nbytes > self._limit):
                del camera.waiting[1::2]
                camera.every *= 2
            return True

    def next(self) -> list[Frame] | None:
        """The next window, in order of time, or None while no camera has one.

        A window is full, or has waited two seconds for new pictures and holds at least two frames.
        """
        with self._lock:
            ready = [camera for camera in self._cameras.values() if self._is_ready(camera)]
            if not ready:
                return None
            camera = min(ready, key=lambda c: c.waiting[0].key)
            fresh = self._params.window - len(camera.shared)
            window = camera.shared + camera.waiting[:fresh]
            del camera.waiting[:fresh]
            camera.every, camera.count = 1, 0
            return window

    def share(self, camera: str, frames: Sequence[Frame]) -> None:
        """From now on the windows of a camera begin with these frames."""
        with self._lock:
            self._cameras.setdefault(camera, _Camera()).shared = list(frames)

    def _is_ready(self, camera: _Camera) -> bool:
        if not camera.waiting:
            return False
        count = len(camera.shared) + len(camera.waiting)
        late = camera.newest_ns - camera.waiting[0].stamp_ns >= PATIENCE_NS
        return count >= self._params.window or (late and count >= 2)
