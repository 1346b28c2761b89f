"""What is small in a recording, gathered before its images are read: offline nothing has to be waited for."""

from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..assembler import FrameAssembler
from ..geometry.poses import Matrix, pose_matrix
from ..messages import stamp_ns
from .runs import Runs

MOST = 4_000_000  # transforms that are held, 72 bytes each


class Transforms:
    """All transforms of a recording, fed to an assembler in order of their stamps, whenever they were logged.

    Of more than MOST every second one of each link is forgotten, as often as it takes.
    """

    def __init__(self):
        self._links: dict[tuple[str, str, bool], int] = {}  # parent, child, whether it is a pose
        self._of, self._runs, self._stamps, self._values = array("i"), array("i"), array("q"), array("d")
        self._static: dict[str, tuple[str, list[float]]] = {}
        self._once: set[str] = set()

    def add_static(self, message: Any) -> None:
        """A TFMessage of static transforms; the last word about a child holds."""
        for parent, child, _, values in _links(message):
            self._static[child] = parent, values

    def add(self, runs: Runs, message: Any, once: bool = False) -> None:
        """A TFMessage; ``once``: of a kind without static transforms, where one that was sent once holds for ever."""
        for parent, child, stamp, values in _links(message):
            self._add(runs, (parent, child, False), stamp, values)
            if once:
                self._once.add(child)

    def add_pose(self, runs: Runs, header: Any, child: str, pose: Any) -> None:
        """The pose of a frame; it replaces what transforms say of that frame."""
        link = header.frame_id, child.lstrip("/"), True
        self._add(runs, link, stamp_ns(header.stamp), _numbers(pose.position, pose.orientation))

    def feeder(self, assembler: FrameAssembler, last: int) -> "Feeder":
        """Feeds them all, from the beginning; nothing may be added after. ``last``: number of the last run."""
        of, runs, stamps = (np.frombuffer(a, a.typecode) for a in (self._of, self._runs, self._stamps))
        runs, values = np.minimum(runs, last), np.frombuffer(self._values).reshape(-1, 7)
        links = list(self._links)
        times = np.bincount(of, minlength=len(links)).tolist()
        posed = {child for _, child, pose in links if pose}
        kept = np.array([pose or child.lstrip("/") not in posed for _, child, pose in links], bool)
        static = dict(self._static)
        for i, (parent, child, _) in enumerate(links):
            if child in self._once and times[i] == 1 and sum(c == child for _, c, _ in links) == 1:
                static[child] = parent, values[np.flatnonzero(of == i)[0]].tolist()
                kept[i] = False
        for child, (parent, numbers) in static.items():
            if child.lstrip("/") not in posed:
                assembler.add_transform(parent, child, 0, _matrix, numbers, static=True)
        chosen = np.flatnonzero(kept[of]) if of.size else np.zeros(0, int)
        order = chosen[np.lexsort((stamps[chosen], runs[chosen]))]

        def feed(i: int) -> None:
            parent, child, _ = links[of[order[i]]]
            assembler.add_transform(parent, child, int(stamps[order[i]]), _matrix, values[order[i]])

        return Feeder(runs[order], stamps[order], feed)

    def _add(self, runs: Runs, link: tuple[str, str, bool], stamp: int, values: list[float]) -> None:
        self._of.append(self._links.setdefault(link, len(self._links)))
        self._runs.append(runs.of(link, stamp))
        self._stamps.append(stamp)
        self._values.extend(values)
        if len(self._of) > MOST:
            self._thin()

    def _thin(self) -> None:
        kept = np.ones(len(self._of), bool)
        of = np.array(self._of)
        for link in range(len(self._links)):
            kept[np.flatnonzero(of == link)[1:-1:2]] = False
        for name, width in (("_of", 1), ("_runs", 1), ("_stamps", 1), ("_values", 7)):
            old = getattr(self, name)
            rows = np.frombuffer(old, old.typecode).reshape(-1, width)[kept]
            setattr(self, name, array(old.typecode, rows.tobytes()))


class Feeder:
    """Things that lie in order of their moments, handed on as time passes.

    Args:
        runs, stamps: int [N] each.
        feed: hands on the i-th.
    """

    def __init__(self, runs: NDArray, stamps: NDArray, feed: Callable[[int], None]):
        self._runs, self._stamps, self._feed = runs.tolist(), stamps, feed
        self._next = 0

    def until(self, run: int, stamp: int) -> None:
        """Hand on what is not later than this moment; what is left of earlier runs is forgotten."""
        while self._next < len(self._runs) and self._runs[self._next] < run:
            self._next += 1
        while self._next < len(self._runs) and self._runs[self._next] == run and self._stamps[self._next] <= stamp:
            self._feed(self._next)
            self._next += 1


def _links(message: Any) -> Iterator[tuple[str, str, int, list[float]]]:
    """(parent, child, stamp, numbers) of each transform of a TFMessage."""
    for t in message.transforms:
        numbers = _numbers(t.transform.translation, t.transform.rotation)
        yield t.header.frame_id, t.child_frame_id, stamp_ns(t.header.stamp), numbers


def _numbers(t: Any, q: Any) -> list[float]:
    return [t.x, t.y, t.z, q.x, q.y, q.z, q.w]


def _matrix(numbers: Any) -> Matrix:
    return _pose(np.asarray(numbers, np.float64).tobytes())


@lru_cache(1024)  # many transforms repeat
def _pose(numbers: bytes) -> Matrix:
    values = np.frombuffer(numbers)
    matrix = pose_matrix(values[:3], values[3:])
    matrix.flags.writeable = False
    return matrix
