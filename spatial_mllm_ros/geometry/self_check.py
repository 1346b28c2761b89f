"""The frames of a camera checked as they come: pairs of them are compared, and what all pairs say is put in words."""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, radians
from operator import itemgetter

import numpy as np

from ..frames import Frame
from .agreement import CHANGES, LATE_NS, NOWHERE, PART, SLIPS, Pair, Poses, View, compare
from .poses import Matrix, interpolate

MOVED, TURNED = 0.1, 10.0  # m, degrees: what two views of a pair are apart at least
COSINE = cos(radians(TURNED))
LONGEST_NS = 5_000_000_000  # between them at most
HOLE_NS = 500_000_000  # between two poses, at most, that are interpolated
REMEMBERED_NS = LONGEST_NS + 2 * LATE_NS
PAIRS = 20  # the latest ones count
FEWEST = 3  # pairs without which nothing is called wrong

TOO_MUCH = 3.0  # noises, median of all pairs
BETTER, OFTEN = 0.65, 0.8  # of the disagreement is left on average, and in the median pair, by what is the cause
ANY_SHARE = 0.003  # of depth; a smaller disagreement has no cause
CERTAIN = 4.0  # standard errors
SLIPPED = {"late": (25.0, 0.2, 0.05), "scale": (0.08, 0.35, 0.1), "focal": (0.05, 0.3, 0.15)}
"""From where on a slip is said: its size (ms, or part), its effect (noises), its part of what disagrees."""

LINK = (
    "the frame '{frame}' looks forward along x: either camera_info names a link instead of the optical frame (z"
    " forward, x right, y down), or the pose of a body is taken for the camera's; name the optical frame in camera_info"
    " and publish the transform to it"
)
CAUSES = {
    "link": LINK,
    "backward": "the poses are of a frame with y up that looks along -z, as in OpenGL: turn '{frame}' by 180 degrees"
    " about x",
    "upside down": "the picture is upside down against '{frame}': turn that by 180 degrees about z",
    "inverted": "the poses are inverted: they map the world to the camera; publish the camera's pose in the world",
    "scale": "by the units of the poses depth is {factor} too {size}: 16UC1 has to be in millimetres, 32FC1 in"
    " metres, poses in metres",
    "focal": "depth fits about {factor} the focal length of camera_info: depth is not registered to colour, or"
    " camera_info is of another image; align depth in the driver, or give the camera_info of this image",
    "late": "poses are stamped about {ms} ms {when} against the images: correct the stamps or the clocks",
}
UNKNOWN = "depth does not tell the cause: look at the poses of '{frame}', at the transforms to it and at camera_info"


@dataclass(frozen=True)
class Verdict:
    """What the pairs say of depth and poses.

    Attributes:
        text: in some words: ``consistent within 9 mm``, ``disagree by 213 mm``, ``not checked: ...``.
        why: where they disagree, the likely cause and the remedy; else empty.
        cause: the key of CAUSES, empty where that is not known.
        pairs: how many were compared.
        metres: by how much depth differs, median of the pairs; NaN where none was compared.
    """

    text: str
    why: str = ""
    cause: str = ""
    pairs: int = 0
    metres: float = np.nan

    @property
    def wrong(self) -> bool:
        """Depth and poses do not belong together."""
        return bool(self.why)

    def about(self, camera: str) -> str:
        """All that is wrong, as a line about a camera."""
        return f"camera '{camera}': depth and poses {self.text}: {self.why}"


class SelfCheck:
    """Goes along with the frames of one camera, in order of time.

    A pair begins every ``every_ns`` and ends with the first frame that is MOVED or TURNED from there. Of frames between
    only the pose is looked at.

    Attributes:
        verdict: by the latest pairs.
    """

    def __init__(self, every_ns: int = 1_000_000_000):
        self._every_ns = every_ns
        self._path: deque[tuple[int, Matrix]] = deque()
        self._first: View | None = None
        self._waiting: deque[tuple[View, View]] = deque()  # for later poses
        self._pairs: deque[Pair] = deque(maxlen=PAIRS)
        self._next_ns = 0
        self.verdict = Verdict("not checked: no frames came")

    def look(self, frame: Frame) -> bool:
        """The next frame; decodes its depth where it belongs to a pair. True where the verdict is new.

        Raises:
            BadMessage: its depth is broken; it leaves no trace.
        """
        pose, now = frame.world_from_camera, frame.stamp_ns
        if pose is None or not frame.has_depth or not np.isfinite(pose).all():
            self._lack("no depth came" if not frame.has_depth else "the poses are not known")
            return False
        if self._path and now <= self._path[-1][0]:
            self._path.clear()
            self._waiting.clear()
            self._first, self._next_ns = None, 0
        self._path.append((now, pose))
        while self._path[0][0] < now - REMEMBERED_NS:
            self._path.popleft()
        if self._first is not None and now - self._first.stamp_ns > LONGEST_NS:
            self._first = None
        if self._first is None:
            if now >= self._next_ns:
                self._first, self._next_ns = self._view(frame), now + self._every_ns
                self._lack("the camera does not move")
        elif _apart(self._first.world_from_camera, pose):
            self._waiting.append((self._first, self._view(frame)))
            self._first = None
        if self._waiting and now >= self._waiting[0][1].stamp_ns + LATE_NS:
            return self._compare()
        return False

    def finish(self) -> Verdict:
        """No more frames come: the verdict of all."""
        while self._waiting:
            self._compare()
        return self.verdict

    def _lack(self, text: str) -> None:
        if not self._pairs:
            self.verdict = Verdict(f"not checked: {text}")

    def _view(self, frame: Frame) -> View:
        depth, pose = frame.depth, frame.world_from_camera
        assert depth is not None and pose is not None
        self._frame = frame.camera.frame_id
        return View.of(frame.stamp_ns, frame.depth_camera, depth, pose)

    def _compare(self) -> bool:
        first, second = self._waiting.popleft()
        pair = compare(first, second, self._poses(first, second, LATE_NS), self._poses(first, second, -LATE_NS))
        if pair is None:
            return False
        self._pairs.append(pair)
        self.verdict = judged(self._pairs, self._frame)
        return True

    def _poses(self, first: View, second: View, shift_ns: int) -> Poses | None:
        a, b = (self._pose_at(view.stamp_ns + shift_ns) for view in (first, second))
        return None if a is None or b is None else (a, b)

    def _pose_at(self, stamp_ns: int) -> Matrix | None:
        after = bisect_left(self._path, stamp_ns, key=itemgetter(0))
        if not 0 < after < len(self._path):
            return None
        (before_ns, before), (after_ns, pose) = self._path[after - 1], self._path[after]
        if after_ns - before_ns > HOLE_NS:
            return None
        return interpolate(before, pose, (stamp_ns - before_ns) / (after_ns - before_ns))


def _apart(a: Matrix, b: Matrix) -> bool:
    way = b[:3, 3] - a[:3, 3]
    cosine = ((a[:3, :3] * b[:3, :3]).sum() - 1) / 2  # of the angle between them
    return bool(way @ way >= MOVED * MOVED or cosine <= COSINE)


def judged(pairs: Sequence[Pair], frame: str) -> Verdict:
    """What pairs say of depth and the poses of an optical frame."""
    metres, noises = (float(np.median([getattr(p, what) for p in pairs])) for what in ("metres", "noises"))
    shares = np.array([p.share for p in pairs])
    if len(pairs) >= FEWEST:
        cause, values = _far_off(pairs, shares) or _slipped(pairs) or ("", {})
        if cause or noises > TOO_MUCH:
            by = "so much that views show no common place" if metres == inf else f"by {_length(metres)}"
            why = (CAUSES[cause] if cause else UNKNOWN).format(frame=frame, **values)
            return Verdict(f"disagree {by}", why, cause, len(pairs), metres)
    if metres == inf or noises > TOO_MUCH:  # of fewer pairs
        return Verdict("not checked: too few views of the same place")
    return Verdict(f"consistent within {_length(metres)}", "", "", len(pairs), metres)


def _length(metres: float) -> str:
    return f"{1000 * metres:.0f} mm" if metres < 10 else f"{metres:.0f} m"


def _far_off(pairs: Sequence[Pair], shares: np.ndarray) -> tuple[str, dict[str, str]] | None:
    """The change of CHANGES that makes views agree, as (cause, values of its text)."""
    changed = np.stack([p.shares for p in pairs])
    if shares.mean() < ANY_SHARE:
        return None
    left = changed.mean(axis=0) / shares.mean()
    often = np.median(changed / np.maximum(shares, 1e-6)[:, None], axis=0)
    left[often > OFTEN] = NOWHERE
    best = int(left.argmin())
    if left[best] >= BETTER:
        return None
    cause, _, factor = list(CHANGES)[best].rpartition(" ")
    if cause not in ("scale", "focal"):
        return list(CHANGES)[best], {}
    return cause, _factor(cause, float(factor))


def _factor(cause: str, factor: float) -> dict[str, str]:
    if cause == "focal":
        return {"factor": f"{factor:.2g} times"}
    size, over = ("large", 1 / factor) if factor < 1 else ("small", factor)
    return {"factor": f"about {over:.0f} times" if over >= 1.95 else f"at least {100 * (over - 1):.0f} %", "size": size}


def _slipped(pairs: Sequence[Pair]) -> tuple[str, dict[str, str]] | None:
    """What is a little wrong, and by how much: least squares over all pairs, with the error by how much they differ."""
    slips = [p.slips for p in pairs if p.slips is not None and p.slips.count]
    if len(slips) < FEWEST:
        return None
    count, squares = sum(s.count for s in slips), sum(s.squares for s in slips)
    normal = np.sum([s.normal for s in slips], axis=0) + 1e-3 * count * np.eye(len(SLIPS))
    inverted = np.linalg.inv(normal)
    found = inverted @ np.sum([s.right for s in slips], axis=0)
    off = np.stack([inverted @ (s.right - s.normal @ found) for s in slips])
    sizes = np.abs(found) * [LATE_NS / 1e6, PART, PART]
    effect = np.abs(found) * np.sqrt(np.diag(normal) / count)
    explained = found**2 / np.diag(inverted) / max(squares, 1e-9)
    said = (np.stack([sizes, effect, explained], axis=1) >= [SLIPPED[name] for name in SLIPS]).all(axis=1)
    said &= np.abs(found) >= CERTAIN * np.sqrt((off * off).sum(axis=0))
    if not said.any():
        return None
    which = int(np.where(said, effect, 0).argmax())
    cause, way = SLIPS[which], float(found[which])
    if cause == "late":
        return cause, {"ms": f"{sizes[which]:.0f}", "when": "late" if way > 0 else "early"}
    return cause, _factor(cause, max(1 + PART * way, 0.1))
