"""Values of many rates at one: at each frame the newest of every source, and no frame where one is too old."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SLACK_NS = 1_000_000  # that a stamp may be after its frame: clocks of sensors are no finer
Stamps = NDArray[np.int64]


class Gap(NamedTuple):
    """Where a source has no value that is new enough: its number, its last stamp, and the next one if there is one."""

    source: int
    last_ns: int
    next_ns: int | None


@dataclass(frozen=True)
class Piece:
    """Frames without a gap.

    Attributes:
        ticks: int64 [N], their times in nanoseconds, ``1 / fps`` apart.
        chosen: of each source, the stamps of the values at these times, int64 [N].
        until_ns: the time of the next frame, if there were one. stop_ns: the frames stand for the time up to here.
        gap: why it ends before its time; None where it does not.
    """

    ticks: Stamps
    chosen: Sequence[Stamps]
    until_ns: int
    stop_ns: int
    gap: Gap | None = None


def next_piece(
    sources: Sequence[Stamps],
    start_ns: int,
    stop_ns: int,
    fps: int,
    max_age_ns: int,
    most: int,
    answers: Collection[int] = (),
) -> Piece | None:
    """The first frames without a gap in a time; None where there are none.

    Args:
        sources: stamps of the values of each, sorted.
        max_age_ns: how old a value may be.
        most: frames; it ends there, and another one can begin.
        answers: numbers of the sources that answer a frame: theirs is the newest value before the next one.
    """
    step = max(10**9 // fps - SLACK_NS - 1, 0)  # what has the stamp of the next frame, or nearly, answers that
    ahead = [step if number in answers else SLACK_NS for number in range(len(sources))]
    first = _first(sources, ahead, start_ns, stop_ns, max_age_ns)
    if first is None:
        return None
    count = min((stop_ns - first) * fps // 10**9 + 2, most)
    ticks = first + (np.arange(count, dtype=np.int64) * 10**9 + fps // 2) // fps
    ticks = ticks[ticks <= stop_ns]
    chosen, good, gap = list[Stamps](), len(ticks), None
    for number, stamps in enumerate(sources):
        newest = np.maximum(np.searchsorted(stamps, ticks + ahead[number], "right") - 1, 0)
        chosen.append(stamps[newest])
        old = np.flatnonzero(ticks - chosen[number] > max_age_ns)
        if old.size and old[0] < good:
            good, last = int(old[0]), int(newest[old[0]])
            gap = Gap(number, int(stamps[last]), int(stamps[last + 1]) if last + 1 < len(stamps) else None)
    after = first + (good * 10**9 + fps // 2) // fps
    return Piece(ticks[:good], [stamps[:good] for stamps in chosen], after, min(after, stop_ns), gap)


def _first(sources: Sequence[Stamps], ahead: Sequence[int], start_ns: int, stop_ns: int, max_age_ns: int) -> int | None:
    """The start, or the first stamp of any source, at which every source has a value that is not too old."""
    time, moved = start_ns, True
    while moved:
        moved = False
        for stamps, early in zip(sources, ahead):
            newest = int(np.searchsorted(stamps, time + early, "right")) - 1
            if newest < 0 or time - stamps[newest] > max_age_ns:
                if newest + 1 == len(stamps):
                    return None
                seen = max(int(stamps[newest + 1]) - early, time + 1)  # before it nothing newer is there
                places = ((each, int(np.searchsorted(each, seen))) for each in sources)
                time, moved = min(int(each[i]) for each, i in places if i < len(each)), True
    return time if time <= stop_ns else None
