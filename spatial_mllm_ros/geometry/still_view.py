"""Whether a camera still sees what it saw: that it stands still, told by its pictures and its depth alone."""

from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import BadMessage
from ..frames import Frame

GRID = 40, 30  # readings of depth that are compared, across and down
PICTURE = 160, 120  # pixels that a picture is reduced to
BLUR = 1.5  # of them, against noise
BLOCK = 16  # of them, a side of what is compared
FLAT = 6.0  # gray values; a block with less contrast shows nothing
ALIKE, UNLIKE = 0.7, 0.4  # correlation of two blocks
FEWEST_READINGS, FEWEST_BLOCKS = 60, 6  # without which depth, or the picture, says nothing
MOVED, STAYED = 0.7, 0.6  # part of them that is unlike, or alike
MOST_NS = 500_000_000  # between two looks at a camera that stands still

MOVE_IT = (
    "publish what moves it (/tf of odometry or a robot, Odometry, or PoseStamped), or declare that it stands still"
    " (pose.still, --still)"
)


def why_not_still(world: str, optical: str) -> str:
    """Why a camera that nothing moves by its transforms, but that moves, has no poses, and what to do."""
    return (
        f"its poses are not known: nothing moves '{optical}' in '{world}' (transforms there are static, or always the"
        f" same), but what it sees moves; {MOVE_IT}"
    )


def depth_tolerance(depth: NDArray) -> NDArray:
    """By how much readings of depth [N] metres of something still differ at most, metres."""
    return 0.02 + 0.008 * depth * depth


@dataclass(frozen=True, eq=False)
class Glance:
    """What is kept of a frame: depth float32 [30, 40] metres, picture float32 [120, 160], None where unknown."""

    depth: NDArray[np.float32] | None
    picture: NDArray[np.float32] | None

    @classmethod
    def of(cls, frame: Frame) -> "Glance":
        """Decodes the frame; what of it is broken is left out."""
        depth = gray = None
        with suppress(BadMessage):
            depth = frame.depth
        with suppress(BadMessage):
            gray = frame.gray
        if depth is not None:
            rows, columns = (np.linspace(0, n - 1, most).astype(int) for n, most in zip(depth.shape, GRID[::-1]))
            depth = depth[np.ix_(rows, columns)]
        if gray is not None:
            gray = cv2.GaussianBlur(cv2.resize(gray, PICTURE, interpolation=cv2.INTER_AREA), (0, 0), BLUR)
            gray = gray.astype(np.float32)
        return cls(depth, gray)


def moved(before: Glance, now: Glance) -> bool | None:
    """Whether the camera moved between two glances; None where they do not say.

    Most of the readings of depth differ by more than noise then, or most blocks of the picture that show something show
    something else. Things that move in front of a background that stays are fewer. Light may change.
    """
    said = [_depth_moved(before.depth, now.depth), _picture_moved(before.picture, now.picture)]
    return True if True in said else False if False in said else None


def _depth_moved(before: NDArray | None, now: NDArray | None) -> bool | None:
    if before is None or now is None or before.shape != now.shape:
        return None
    there = (before > 0) & (now > 0) & np.isfinite(before) & np.isfinite(now)
    if there.sum() < FEWEST_READINGS:
        return None
    a, b = before[there], now[there]
    return _told(float(np.mean(np.abs(a - b) <= depth_tolerance(np.minimum(a, b)))))


def _picture_moved(before: NDArray | None, now: NDArray | None) -> bool | None:
    if before is None or now is None:
        return None
    a, b = _blocks(before), _blocks(now)
    shows = (a.std(axis=1) > FLAT) & (b.std(axis=1) > FLAT)
    if shows.sum() < FEWEST_BLOCKS:
        return None
    a, b = (x[shows] - x[shows].mean(axis=1, keepdims=True) for x in (a, b))
    alike = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return True if np.mean(alike < UNLIKE) >= MOVED else False if np.mean(alike > ALIKE) >= STAYED else None


def _told(same: float) -> bool | None:
    return True if same <= 1 - MOVED else False if same >= STAYED else None


def _blocks(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, BLOCK * BLOCK] pixels."""
    height, width = (n // BLOCK * BLOCK for n in picture.shape)
    cut = picture[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return cut.swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)


class StillView:
    """Goes along with the frames of a camera that nothing moves by its transforms, and tells when it is moved anyhow.

    The first frame is what the camera has to go on seeing. It is looked at every frame at first, then less and less
    often, at last twice a second. Where it has moved, it stands still again when it sees what it saw first.

    Attributes:
        moved: what the last look said; it holds until one says otherwise.
    """

    def __init__(self) -> None:
        self.moved = False
        self._first: Glance | None = None
        self._since = self._looked = 0

    def look(self, frame: Frame) -> bool:
        """The next frame: :attr:`moved`. Decodes it, where it is looked at."""
        now = frame.stamp_ns
        if self._first is None or now < self._looked:
            self._first, self._since, self._looked, self.moved = Glance.of(frame), now, now, False
        elif now - self._looked >= min(MOST_NS, (now - self._since) // 8):
            self._looked = now
            said = moved(self._first, Glance.of(frame))
            self.moved = self.moved if said is None else said
        return self.moved
