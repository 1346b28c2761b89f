"""How other threads steer a player: what ``ros2 bag play`` offers by keys and services."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from threading import Condition
from time import monotonic_ns

from .schedule import Schedule

BEHIND = 500_000_000  # ns that playing may be behind; what is more is not caught up with, the schedule moves
LONGEST = 3600.0  # s that one wait takes


class Event(Enum):
    """Why the player woke up."""

    PLAY = "the next message is to be played"
    WAKE = "the time that was asked for has come"
    LEAVE = "play elsewhere, or nothing more"


@dataclass
class _Burst:
    """Messages that are played while paused."""

    count: float
    played: int = 0


class Controls:
    """Pause, step, rate, seek and stop of one playback; every method may be called by any thread.

    Moments are nanoseconds in the time of the recording, times nanoseconds of ``clock``.

    Args:
        clock: the time that passes.
        changed: what the player waits on.

    Attributes:
        say: told in a few words what was changed, or why it was not.
        shifts, shifted: how often playing was too far behind, and by how many seconds its schedule moved for that.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], int] = monotonic_ns,
        changed: Condition | None = None,
    ):
        self.shifts, self.shifted = 0, 0.0
        self.say, self._changed = say, changed or Condition()
        self._schedule = Schedule(clock)
        self._begin = self._end = 0
        self._burst: _Burst | None = None
        self._target: int | None = None
        self._stopped = False

    # for whoever steers

    @property
    def paused(self) -> bool:
        return self._schedule.paused

    @property
    def rate(self) -> float:
        """Recorded seconds a second."""
        return self._schedule.rate

    @property
    def stopped(self) -> bool:
        return self._stopped

    def pause(self) -> None:
        """Recorded time stands still; messages come by :meth:`play_next` and :meth:`burst` alone."""
        with self._changed:
            if self.paused:
                return
            self._schedule.pause()
            self._changed.notify_all()
            at = self._seconds(self._schedule.now())
        self.say(f"paused at {at:.2f} s")

    def resume(self) -> None:
        """Play on from where it stands."""
        with self._changed:
            if not self.paused:
                return
            self._schedule.resume()
            self._burst = None
            self._changed.notify_all()
        self.say("playing on")

    def toggle_paused(self) -> None:
        self.resume() if self.paused else self.pause()

    def set_rate(self, rate: float) -> bool:
        """Play at this rate from now on; False where it is none."""
        try:
            with self._changed:
                self._schedule.set_rate(rate)
                self._changed.notify_all()
        except ValueError as error:
            self.say(str(error))
            return False
        self.say(f"rate {rate:g}")
        return True

    def change_rate(self, change: float) -> bool:
        """Add so much to the rate; False where that leaves none."""
        return self.set_rate(round(self.rate + change, 6))

    def play_next(self) -> bool:
        """Play the next message while paused; returns when it is published. False where there is none to play."""
        return self.burst(1) == 1

    def burst(self, count: int = 0) -> int:
        """Play the next messages at once while paused; returns, when they are published, how many there were.

        Args:
            count: how many; 0 plays all that are left. The end, and playing on, end it sooner.
        """
        with self._changed:
            if self._stopped or not self.paused or self._burst:
                return 0
            burst = self._burst = _Burst(count or inf)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._burst is not burst)
            return burst.played

    def seek(self, moment: int) -> bool:
        """Go on from that moment; False where it is not in what is played."""
        with self._changed:
            if self._stopped or not self._begin <= moment < self._end:
                return False
            self._target = moment
            self._changed.notify_all()
        self.say(f"moved to {self._seconds(moment):.2f} s")
        return True

    def stop(self) -> None:
        """Nothing more is played; what waits for a message waits no longer."""
        with self._changed:
            self._stopped, self._burst = True, None
            self._changed.notify_all()

    # for the player

    def open(self, begin: int, end: int, rate: float = 1.0, paused: bool = False) -> None:
        """Moments from ``begin`` to before ``end`` are played, at this rate to begin with."""
        with self._changed:
            self._begin, self._end = begin, end
            self._schedule.set_rate(rate)
            self._schedule.move(begin)
            if paused:
                self._schedule.pause()
        if paused:
            self.say("begins paused")

    def start(self, moment: int) -> None:
        """It is that moment now, and what comes next is waited for."""
        with self._changed:
            self._schedule.limit = None
            self._schedule.move(moment)

    def take_target(self) -> int | None:
        """Where to go on after a :meth:`seek`; None where nobody asked."""
        with self._changed:
            target, self._target = self._target, None
            return target

    def now(self) -> int:
        """The moment that it is; never later than that of a message that is still to be played."""
        with self._changed:
            return self._schedule.now()

    def due(self, moment: int) -> int:
        """When that moment comes, or came."""
        with self._changed:
            return self._schedule.due(moment)

    def wait(self, moment: int | None, wake: int | None = None) -> Event:
        """Wait for a message to be due, or to be asked for; call it again when that is published.

        Args:
            moment: that of the message; None after the last one, where it waits while paused.
            wake: return at this time at the latest.
        """
        clock = self._schedule.clock
        with self._changed:
            self._schedule.limit = moment
            while True:
                if self._burst and (moment is None or self._burst.played >= self._burst.count):
                    self._burst = None
                    self._changed.notify_all()
                if self._stopped or self._target is not None or (moment is None and not self.paused):
                    return Event.LEAVE
                if moment is None or (self.paused and not self._burst):
                    due = None
                elif self._burst:
                    self._burst.played += 1
                    self._schedule.move(moment)
                    return Event.PLAY
                else:
                    due = self._due(moment, wake)
                    if clock() >= due:
                        return Event.PLAY
                times = [time for time in (due, wake) if time is not None]
                left = (min(times) - clock()) / 1e9 if times else LONGEST
                if left <= 0:
                    return Event.WAKE
                self._changed.wait(min(left, LONGEST))

    def _due(self, moment: int, wake: int | None) -> int:
        """When the moment comes; later than it was to, where the process slept or was too slow."""
        due = self._schedule.due(moment)
        behind = self._schedule.clock() - (due if wake is None else min(due, wake))
        if behind <= BEHIND:
            return due
        self._schedule.shift(behind)
        self.shifts += 1
        self.shifted += behind / 1e9
        return due + behind

    def _seconds(self, moment: int) -> float:
        return (moment - self._begin) / 1e9
