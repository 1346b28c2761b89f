"""How to play, and what was played."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

from ..errors import BagError
from ..recording import Recording, require
from .names import GLOBAL, parse_rule
from .schedule import FASTEST, SLOWEST


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate: recorded seconds a second to begin with.
        loop: begin anew at the end, until interrupted.
        start, duration: the part to play, seconds from the beginning; a duration of 0 plays to the end.
        topics: names; empty plays all whose types are installed.
        clock: publish /clock, for nodes with use_sim_time; stamps stay as they are.
        restamp: shift all header stamps (and those in TF) to now, for nodes without it.
        wait: seconds to wait for subscribers before starting; 0 does not wait, inf waits for ever.
        wait_for: topics, as recorded, that must have one; empty means any topic.
        paused: begin paused.
        namespace: of the player. Recorded topics are published below it, but for those of all robots
            (``names.GLOBAL``), and those that were recorded below it already.
        remap: rules ``OLD:=NEW``; OLD is a topic as recorded, NEW is in the namespace unless it begins with a slash.
        ros_args: what comes after ``--ros-args`` on the command line of a node.
    """

    rate: float = 1.0
    loop: bool = False
    start: float = 0.0
    duration: float = 0.0
    topics: Collection[str] = ()
    clock: bool = False
    restamp: bool = False
    wait: float = 0.0
    wait_for: Collection[str] = ()
    paused: bool = False
    namespace: str = ""
    remap: Collection[str] = ()
    ros_args: Sequence[str] = ()

    def check(self) -> None:
        """Raises BagError where a number is out of range."""
        if not SLOWEST <= self.rate <= FASTEST:
            raise BagError(f"rate {self.rate:g}: expected {SLOWEST:g} to {FASTEST:,.0f}")
        for name in ("start", "duration"):
            if not 0 <= getattr(self, name) < inf:
                raise BagError(f"{name} {getattr(self, name):g}: expected seconds, not below 0")
        if not self.wait >= 0:
            raise BagError(f"wait {self.wait:g}: expected seconds, 0 not to wait, inf to wait for ever")

    def check_with(self, recording: Recording) -> None:
        """Raises BagError where the recording lacks a topic that is named, or is shorter than ``start``."""
        renamed = {parse_rule(rule)[0] for rule in self.remap} - GLOBAL
        for name in (*self.topics, *self.wait_for, *sorted(renamed)):
            require(recording, name)
        length = (recording.end_ns - recording.start_ns) / 1e9
        if self.start > length:
            raise BagError(f"start {self.start:g} s: {recording.path.name} is only {length:.2f} s long")


@dataclass
class PlayReport:
    """What was played.

    Attributes:
        messages: how many.
        late, worst: how many of them came more than 10 ms late, and the worst delay in seconds.
        shifts, shifted: how often playing was more than half a second behind, because the process was stopped or too
            slow, and the seconds in all by which the schedule moved then: they were not caught up with.
    """

    messages: int = 0
    late: int = 0
    worst: float = 0.0
    shifts: int = 0
    shifted: float = 0.0
