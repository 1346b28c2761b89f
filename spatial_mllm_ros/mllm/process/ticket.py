"""A job for the model's process, from being asked for to its one outcome. Needs no torch."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any

from ...frames import Frame
from ..question import Answer

BACKGROUND = 600.0  # s that a job nobody waits for may take


class Ticket:
    """A job for the model and the one outcome that comes of it.

    Attributes:
        kind: ``ask``, ``geometry`` or ``warm``.
        values: what the process is told besides the number of the job.
        seconds, deadline: time from its making to the outcome, and ``time.monotonic()`` when that is over.
        stage: ``waiting``, ``encoding`` or ``generating``.
        canceled, settled: whether somebody wants it to end, and whether it has its outcome.
        future: the outcome.
    """

    def __init__(
        self,
        kind: str,
        frames: Sequence[Frame],
        values: tuple = (),
        seconds: float = BACKGROUND,
        on_progress: Callable[[str, str], None] | None = None,
        wake: Callable[[], None] = lambda: None,
    ):
        self.kind, self.frames, self.values, self.seconds = kind, frames, values, seconds
        self.deadline = monotonic() + seconds
        self.on_progress, self._wake = on_progress, wake
        self.stage = "waiting"
        self.canceled = self.settled = False
        self.future: Future[Any] = Future()

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the answer; raises SpatialError where there is none."""
        return self.future.result(timeout)

    def cancel(self) -> None:
        """Ask for an early end: CANCELED, unless another outcome came first."""
        self.canceled = True
        self._wake()


def clip_key(frames: Sequence[Frame], epoch: int) -> tuple:
    """What tells the clip of these frames from every other, while the same model is loaded."""
    return epoch, *(frame.key for frame in frames)
