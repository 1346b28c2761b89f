"""Recorded time while a recording is played: it runs at a rate, or stands still."""

from collections.abc import Callable
from time import monotonic_ns, time_ns

SLOWEST, FASTEST = 1e-3, 1e6  # recorded seconds a second
JUMP = 500_000_000  # ns by which the calendar may drift from the clock until it is read again


class Schedule:
    """Which moment of a recording it is now, and when another one comes.

    Moments are nanoseconds in the time of the recording, times nanoseconds of ``clock``. Not safe between threads.

    Attributes:
        clock: the time that passes, nanoseconds; it never runs back.
        rate: recorded seconds a second.
        paused: whether recorded time stands still.
        limit: the moment that it does not pass, because something has to happen first.
    """

    def __init__(self, clock: Callable[[], int] = monotonic_ns):
        self.clock = clock
        self.rate, self.paused = 1.0, False
        self.limit: int | None = None
        self._moment, self._since = 0, clock()

    def now(self) -> int:
        """The moment that it is."""
        if self.paused:
            return self._moment
        ran = self._moment + round((self.clock() - self._since) * self.rate)
        return ran if self.limit is None else min(ran, self.limit)

    def due(self, moment: int) -> int:
        """When that moment comes, or came; while paused, as if time had run on from the last move."""
        return self._since + round((moment - self._moment) / self.rate)

    def pause(self) -> None:
        self.move(self.now())
        self.paused = True

    def resume(self) -> None:
        self.move(self.now())
        self.paused = False

    def set_rate(self, rate: float) -> None:
        """From now on, at this rate.

        Raises:
            ValueError: it is not from ``SLOWEST`` to ``FASTEST``.
        """
        if not SLOWEST <= rate <= FASTEST:
            raise ValueError(f"rate {rate:g}: expected {SLOWEST:g} to {FASTEST:,.0f}")
        self.move(self.now())
        self.rate = rate

    def move(self, moment: int) -> None:
        """It is that moment now."""
        self._moment, self._since = moment, self.clock()

    def shift(self, time: int) -> None:
        """Every moment that is still to come comes so much later, nanoseconds."""
        self._since += time


class Calendar:
    """What time of day goes with a time of a clock, nanoseconds: steady, until a machine that slept or was set right.

    Args:
        clock: as that of a :class:`Schedule`; it stands still while the machine is suspended.
        today: time of day, nanoseconds since 1970.
    """

    def __init__(self, clock: Callable[[], int] = monotonic_ns, today: Callable[[], int] = time_ns):
        self._clock, self._today = clock, today
        self._ahead = today() - clock()

    def when(self, time: int) -> int:
        """Time of day, nanoseconds since 1970."""
        return self._ahead + time

    def look(self) -> None:
        """Read both clocks, and believe the time of day where they went apart."""
        ahead = self._today() - self._clock()
        if abs(ahead - self._ahead) > JUMP:
            self._ahead = ahead
