"""Values of many rates at one: at each frame the newest of every source, and no frame where one is too old."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLACK_NS = 1_000_000  # that a stamp may be after its frame: clocks of sensors are no finer
Stamps = NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """Frames without a gap.

    Attributes:
        ticks: int64 [N], their times in nanoseconds, ``1 / fps`` apart.
        chosen: by source, the stamps of the values at these times, int64 [N].
        until_ns: the time of the next frame, if there were one. stop_ns: the frames stand for the time up to here.
        gap: why it ends before its time, in words; empty where it does not.
    """

    ticks: Stamps
    chosen: Mapping[str, Stamps]
    until_ns: int
    stop_ns: int
    gap: str = ""


def next_piece(
    sources: Mapping[str, Stamps], start_ns: int, stop_ns: int, fps: int, max_age_ns: int, most: int
) -> Piece | None:
    """The first frames without a gap in a time; None where there are none.

    Args:
        sources: stamps of the values of each, sorted.
        max_age_ns: how old a value may be.
        most: frames; it ends there, and another one can begin.
    """
    first = _first(sources, start_ns, stop_ns, max_age_ns)
    if first is None:
        return None
    count = min((stop_ns - first) * fps // 10**9 + 2, most)
    ticks = first + (np.arange(count, dtype=np.int64) * 10**9 + fps // 2) // fps
    ticks = ticks[ticks <= stop_ns]
    chosen, good, gap = {}, len(ticks), ""
    for name, stamps in sources.items():
        newest = np.maximum(np.searchsorted(stamps, ticks + SLACK_NS, "right") - 1, 0)
        chosen[name] = stamps[newest]
        old = np.flatnonzero(ticks - chosen[name] > max_age_ns)
        if old.size and old[0] < good:
            good, last = int(old[0]), int(newest[old[0]])
            later = (
                f"the next comes {(stamps[last + 1] - stamps[last]) / 1e9:.3f} s later"
                if last + 1 < len(stamps)
                else "none follows"
            )
            gap = f"{name} has its last value {(stamps[last] - start_ns) / 1e9:.3f} s after the start, {later}"
    after = first + (good * 10**9 + fps // 2) // fps
    chosen = {name: stamps[:good] for name, stamps in chosen.items()}
    return Piece(ticks[:good], chosen, after, min(after, stop_ns), gap)


def _first(sources: Mapping[str, Stamps], start_ns: int, stop_ns: int, max_age_ns: int) -> int | None:
    """The start, or the first stamp of any source, at which every source has a value that is not too old."""
    time, moved = start_ns, True
    while moved:
        moved = False
        for stamps in sources.values():
            newest = int(np.searchsorted(stamps, time + SLACK_NS, "right")) - 1
            if newest < 0 or time - stamps[newest] > max_age_ns:
                if newest + 1 == len(stamps):
                    return None
                seen = max(int(stamps[newest + 1]) - SLACK_NS, time + 1)  # before it nothing newer is there
                places = ((each, int(np.searchsorted(each, seen))) for each in sources.values())
                time, moved = min(int(each[i]) for each, i in places if i < len(each)), True
    return time if time <= stop_ns else None
