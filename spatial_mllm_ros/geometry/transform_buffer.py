"""Transforms between frames over time: a tree fed by /tf, that interpolates and refuses instead of guessing."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from .poses import Matrix, interpolate, inverse, is_rigid

MAX_FRAMES = 10_000


class Reason(Enum):
    """Why a lookup was refused; only TOO_NEW can be cured by waiting for later transforms."""

    UNKNOWN_FRAME = "unknown frame"
    NOT_CONNECTED = "not connected"
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    GAP = "gap"


class TransformError(LookupError):
    """A transform that cannot be given honestly; the text says what is known and how far off the request is."""

    def __init__(self, reason: Reason, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(eq=False)
class _Link:
    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    matrices: dict[int, Matrix] = field(default_factory=dict)


class TransformBuffer:
    """The tree of frames, each linked to its parent by static or stamped transforms.

    Args:
        max_gap_ns: the widest hole between two stamped transforms that is interpolated across.
        history_ns: stamped transforms older than this, measured from the newest of their link, are forgotten.
    """

    def __init__(self, max_gap_ns: int = 500_000_000, history_ns: int = 10_000_000_000):
        self.max_gap_ns = max_gap_ns
        self.history_ns = history_ns
        self._links: dict[str, _Link] = {}

    @property
    def frames(self) -> list[str]:
        """Names of all known frames, sorted."""
        return sorted({*self._links, *(link.parent for link in self._links.values())})

    def forget_after(self, stamp_ns: int) -> None:
        """Forget stamped transforms later than a moment, as when time has jumped back to it."""
        for link in self._links.values():
            if not link.static:
                later = bisect_right(link.stamps, stamp_ns)
                for stamp in link.stamps[later:]:
                    del link.matrices[stamp]
                del link.stamps[later:]

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Matrix, static: bool = False) -> None:
        """Record one transform; the newest word about a stamp or a child's parent holds.

        One that is older than the whole history says that time has jumped back: its link starts anew.

        Raises:
            ValueError: names that are empty or equal, a matrix that is not rigid, or too many frames.
        """
        if not parent or not child or parent == child:
            raise ValueError(f"transform from '{child}' to '{parent}': expected two different, non-empty frame names")
        if not is_rigid(parent_from_child, 1e-3):
            raise ValueError(f"transform from '{child}' to '{parent}' is not a rotation with a translation")
        link = self._links.get(child)
        if link is None and len(self._links) >= MAX_FRAMES:
            raise ValueError(f"more than {MAX_FRAMES} frames")
        if link is None or link.parent != parent or link.static != static:
            link = self._links[child] = _Link(parent, static)
        if static:
            link.stamps, link.matrices = [0], {0: parent_from_child}
            return
        if link.stamps and stamp_ns < link.stamps[-1] - self.history_ns:
            link.stamps, link.matrices = [], {}
        if stamp_ns not in link.matrices:
            insort(link.stamps, stamp_ns)
        link.matrices[stamp_ns] = parent_from_child
        oldest = bisect_left(link.stamps, link.stamps[-1] - self.history_ns)
        for stamp in link.stamps[:oldest]:
            del link.matrices[stamp]
        del link.stamps[:oldest]

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """target_from_source at one moment, float64 [4, 4].

        Raises:
            TransformError: a frame is unknown, the two are not connected, or the moment lies before, after or in too
                wide a hole of what was recorded.
        """
        if target == source:
            return np.eye(4)
        for name in (target, source):
            if name not in self._links and not any(link.parent == name for link in self._links.values()):
                raise TransformError(Reason.UNKNOWN_FRAME, f"frame '{name}' is unknown; known are {_some(self.frames)}")
        up_source, up_target = list(chain(source, self._parent)), list(chain(target, self._parent))
        shared = next((name for name in up_source if name in up_target), None)
        if shared is None:
            raise TransformError(Reason.NOT_CONNECTED, f"frames '{target}' and '{source}' are not connected")
        shared_from_source = self._walk(up_source[: up_source.index(shared)], stamp_ns)
        shared_from_target = self._walk(up_target[: up_target.index(shared)], stamp_ns)
        return inverse(shared_from_target) @ shared_from_source

    def _parent(self, name: str) -> str | None:
        return self._links[name].parent if name in self._links else None

    def _walk(self, children: list[str], stamp_ns: int) -> Matrix:
        """Through the links of these frames: top_from_bottom."""
        matrix = np.eye(4)
        for child in children:
            matrix = self._at(child, self._links[child], stamp_ns) @ matrix
        return matrix

    def _at(self, child: str, link: _Link, stamp_ns: int) -> Matrix:
        if link.static:
            return link.matrices[0]
        if stamp_ns in link.matrices:
            return link.matrices[stamp_ns]
        between = f"transform from '{child}' to '{link.parent}'"
        if not link.stamps:
            raise TransformError(Reason.TOO_NEW, f"{between}: nothing recorded yet")
        i = bisect_left(link.stamps, stamp_ns)
        if i == 0:
            late = (link.stamps[0] - stamp_ns) / 1e6
            raise TransformError(Reason.TOO_OLD, f"{between}: asked for {late:.1f} ms before the oldest")
        if i == len(link.stamps):
            ahead = (stamp_ns - link.stamps[-1]) / 1e6
            raise TransformError(Reason.TOO_NEW, f"{between}: asked for {ahead:.1f} ms after the newest")
        before, after = link.stamps[i - 1], link.stamps[i]
        if after - before > self.max_gap_ns:
            wide, allowed = (after - before) / 1e6, self.max_gap_ns / 1e6
            raise TransformError(
                Reason.GAP, f"{between}: a hole of {wide:.0f} ms, at most {allowed:.0f} ms is interpolated"
            )
        return interpolate(link.matrices[before], link.matrices[after], (stamp_ns - before) / (after - before))


def chain(name: str | None, parent: Callable[[str], str | None]) -> Iterator[str]:
    """The frame, its parent, and so on to the root, which has none; a loop ends where it closes."""
    seen: set[str] = set()
    while name is not None and name not in seen:
        yield name
        seen.add(name)
        name = parent(name)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:12])
    return (shown or "none") + (f" and {len(names) - 12} more" if len(names) > 12 else "")
