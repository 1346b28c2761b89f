"""Where a recording is cut into episodes."""

from itertools import pairwise

from .map import EPOCH, Cuts
from .survey import Survey

Span = tuple[int, int]  # nanoseconds: first and last


def spans(cuts: Cuts, known: Survey) -> list[Span]:
    """(start, stop) of each episode, in order of time and apart from each other."""
    if cuts.times:
        found = [(_time(start, known), _time(stop, known)) for start, stop in cuts.times]
    elif cuts.signal:
        found = _switched(known)
    elif cuts.start:
        found = _between(known, bool(cuts.stop))
    else:
        found = [(known.start_ns, known.end_ns)]
    inside = [(max(start, known.start_ns), min(stop, known.end_ns)) for start, stop in found]
    return [(start, stop) for start, stop in inside if start <= stop]


def _time(seconds: float, known: Survey) -> int:
    return round(seconds * 1e9) if seconds > EPOCH else known.start_ns + round(seconds * 1e9)


def _switched(known: Survey) -> list[Span]:
    """From each message that is on after one that is off to the next that is off, or to the end."""
    found, since = [], None
    for stamp, on in known.signal:
        if on and since is None:
            since = stamp
        elif not on and since is not None:
            found.append((since, stamp - 1))
            since = None
    return found if since is None else [*found, (since, known.end_ns)]


def _between(known: Survey, stopped: bool) -> list[Span]:
    """From each start to the next stop or start, whichever comes first; a last one without a stop is not whole."""
    found, edges = (
        list[Span](),
        sorted([(stamp, True) for stamp in known.ends] + [(stamp, False) for stamp in known.begins]),
    )
    for (start, stops), (end, ended) in pairwise([*edges, (known.end_ns + 1, not stopped)]):
        if not stops and (ended or not stopped):
            found.append((start, end - 1))
    return found
