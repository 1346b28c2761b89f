"""Transforms between frames over time: a tree fed by /tf, that interpolates and refuses instead of guessing."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

import numpy as np

from .poses import Matrix, interpolate, inverse, is_rigid

MAX_FRAMES = 10_000
MAX_PARENTS = 4  # of a frame that changes it, or is given several in turn
MAX_WAYS = 16  # up from a frame, that are tried


class Reason(Enum):
    """Why a lookup was refused; only TOO_NEW can be cured by waiting for later transforms."""

    UNKNOWN_FRAME = "unknown frame"
    NOT_CONNECTED = "not connected"
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    GAP = "gap"


class TransformError(LookupError):
    """A transform that cannot be given honestly; the text says what is known and how far off the request is.

    Attributes:
        child: the frame whose link to its parent lacks it; empty where frames are not connected.
        hole_ns: how wide the hole is, for GAP.
    """

    def __init__(self, reason: Reason, message: str, child: str = "", hole_ns: int = 0):
        super().__init__(message)
        self.reason, self.child, self.hole_ns = reason, child, hole_ns


@dataclass(eq=False)
class _Link:
    child: str
    parent: str
    static: bool
    moves: bool = False  # it was not always the same
    stamps: list[int] = field(default_factory=list)
    matrices: dict[int, Matrix] = field(default_factory=dict)


class TransformBuffer:
    """The tree of frames, each linked to its parent by static or stamped transforms.

    A frame may change its parent, or have several in turn (two estimators of one robot's motion): a lookup takes the
    way that leads to its target, the one of the newest word first.

    Args:
        max_gap_ns: the widest hole between two stamped transforms that is interpolated across.
        history_ns: stamped transforms older than this, measured from the newest of their link, are forgotten.
    """

    def __init__(self, max_gap_ns: int = 500_000_000, history_ns: int = 10_000_000_000):
        self.max_gap_ns = max_gap_ns
        self.history_ns = history_ns
        self._links: dict[str, list[_Link]] = {}  # of each child, the newest word about its parent first

    @property
    def frames(self) -> list[str]:
        """Names of all known frames, sorted."""
        return sorted({*self._links, *(link.parent for links in self._links.values() for link in links)})

    def forget_after(self, stamp_ns: int) -> None:
        """Forget stamped transforms later than a moment, as when time has jumped back to it."""
        for link in (link for links in self._links.values() for link in links if not link.static):
            later = bisect_right(link.stamps, stamp_ns)
            for stamp in link.stamps[later:]:
                del link.matrices[stamp]
            del link.stamps[later:]

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Matrix, static: bool = False) -> None:
        """Record one transform; the newest word about a stamp holds.

        A static one replaces all that was known of its child, a stamped one what was static. One that is older than
        the whole history says that time has jumped back: its link starts anew.

        Raises:
            ValueError: names that are empty or equal, a matrix that is not rigid, or too many frames.
        """
        if not parent or not child or parent == child:
            raise ValueError(f"transform from '{child}' to '{parent}': expected two different, non-empty frame names")
        if not is_rigid(parent_from_child, 1e-3):
            raise ValueError(f"transform from '{child}' to '{parent}' is not a rotation with a translation")
        link = self._link(parent, child, static)
        if static:
            link.stamps, link.matrices = [0], {0: parent_from_child}
            return
        if link.stamps and stamp_ns < link.stamps[-1] - self.history_ns:
            link.stamps, link.matrices = [], {}
        if not link.moves and link.stamps:
            link.moves = not np.array_equal(link.matrices[link.stamps[-1]], parent_from_child)
        if stamp_ns not in link.matrices:
            insort(link.stamps, stamp_ns)
        link.matrices[stamp_ns] = parent_from_child
        oldest = bisect_left(link.stamps, link.stamps[-1] - self.history_ns)
        for stamp in link.stamps[:oldest]:
            del link.matrices[stamp]
        del link.stamps[:oldest]

    def _link(self, parent: str, child: str, static: bool) -> _Link:
        """That of a child to a parent, now the newest."""
        links = self._links.get(child)
        if links and links[0].parent == parent and links[0].static == static:
            return links[0]
        if links is None and len(self._links) >= MAX_FRAMES:
            raise ValueError(f"more than {MAX_FRAMES} frames")
        others = [link for link in links or () if not link.static and not static]
        found = next((link for link in others if link.parent == parent), None)
        if found is None:
            found = _Link(child, parent, static, moves=bool(others))  # with another parent it has moved
        self._links[child] = [found, *(link for link in others if link is not found)][:MAX_PARENTS]
        return found

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix:
        """target_from_source at one moment, float64 [4, 4].

        Raises:
            TransformError: a frame is unknown, the two are not connected, or the moment lies before, after or in too
                wide a hole of what was recorded.
        """
        if target == source:
            return np.eye(4)
        for name in (target, source):
            if name not in self._links and not any(link.parent == name for ls in self._links.values() for link in ls):
                raise TransformError(Reason.UNKNOWN_FRAME, f"frame '{name}' is unknown; known are {_some(self.frames)}")
        refused = None
        for up_source in self._ways(source):
            for up_target in self._ways(target):
                if (links := _joined(source, up_source, target, up_target)) is None:
                    continue
                try:
                    shared_from_source, shared_from_target = (self._walk(part, stamp_ns) for part in links)
                except TransformError as error:
                    refused = refused or error
                    continue
                return inverse(shared_from_target) @ shared_from_source
        raise refused or TransformError(Reason.NOT_CONNECTED, f"frames '{target}' and '{source}' are not connected")

    def moves(self, target: str, source: str) -> bool:
        """Whether anything has ever moved on a way that connects two frames.

        Static transforms do not, nor do stamped ones that have been the same so far.
        """
        for up_source in self._ways(source):
            for up_target in self._ways(target):
                links = _joined(source, up_source, target, up_target)
                if links is not None and any(link.moves for part in links for link in part):
                    return True
        return False

    def _ways(self, name: str) -> Iterator[list[_Link]]:
        """Links from a frame up to a root, in every way there is."""

        way, seen = list[_Link](), {name}
        while len(links := self._links.get(name, ())) == 1 and links[0].parent not in seen:
            way.append(links[0])
            name = links[0].parent
            seen.add(name)
        if not links:  # as in most trees
            return iter((way,))

        def up(name: str, way: list[_Link], seen: set[str]) -> Iterator[list[_Link]]:
            links = [link for link in self._links.get(name, ()) if link.parent not in seen]
            if not links:
                yield way
            for link in links:
                yield from up(link.parent, [*way, link], {*seen, link.parent})

        return islice(up(name, way, seen), MAX_WAYS)

    def _walk(self, links: list[_Link], stamp_ns: int) -> Matrix:
        """Through these links: top_from_bottom."""
        matrix = np.eye(4)
        for link in links:
            matrix = self._at(link, stamp_ns) @ matrix
        return matrix

    def _at(self, link: _Link, stamp_ns: int) -> Matrix:
        if link.static:
            return link.matrices[0]
        if stamp_ns in link.matrices:
            return link.matrices[stamp_ns]
        child = link.child
        between = f"transform from '{child}' to '{link.parent}'"
        if not link.stamps:
            raise TransformError(Reason.TOO_NEW, f"{between}: nothing recorded yet", child)
        i = bisect_left(link.stamps, stamp_ns)
        if i == 0:
            late = (link.stamps[0] - stamp_ns) / 1e6
            raise TransformError(Reason.TOO_OLD, f"{between}: asked for {late:.1f} ms before the oldest", child)
        if i == len(link.stamps):
            ahead = (stamp_ns - link.stamps[-1]) / 1e6
            raise TransformError(Reason.TOO_NEW, f"{between}: asked for {ahead:.1f} ms after the newest", child)
        before, after = link.stamps[i - 1], link.stamps[i]
        if after - before > self.max_gap_ns:
            wide, allowed = (after - before) / 1e6, self.max_gap_ns / 1e6
            text = f"{between}: a hole of {wide:.0f} ms, at most {allowed:.0f} ms is interpolated"
            raise TransformError(Reason.GAP, text, child, after - before)
        return interpolate(link.matrices[before], link.matrices[after], (stamp_ns - before) / (after - before))


def _joined(
    source: str, up_source: list[_Link], target: str, up_target: list[_Link]
) -> tuple[list[_Link], list[_Link]] | None:
    """The links from two frames up to the lowest that is above both; None where there is none."""
    above = {target: 0} | {link.parent: i for i, link in enumerate(up_target, 1)}
    for i, name in enumerate([source, *(link.parent for link in up_source)]):
        if name in above:
            return up_source[:i], up_target[: above[name]]
    return None


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
