"""The life of the model's process, run after run: loading, ready, ended, and when it is started again."""

from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from ...errors import ErrorCode
from .child import how_it_ended

LOADING = 1800.0  # s without any progress after which loading is given up
LEAST_BACKOFF, MOST_BACKOFF = 5.0, 60.0  # s until the next try after loading failed, and at most after any end
NO_MODEL = "no model is configured: set the parameter ask.model"


@dataclass(frozen=True)
class ModelState:
    """How the model is.

    Attributes:
        stage: ``off`` (none is configured), ``loading``, ``ready``, ``restarting``, ``failed`` or ``closed``.
        fraction: part that is loaded, 0..1.
        message: what it is doing, or why it cannot; for people.
        restarts: times that the process was started again.
        waiting: questions in the queue.
        nbytes: resident memory of the process, bytes.
        pid: its process id, 0 where there is none.
    """

    stage: str
    fraction: float
    message: str
    restarts: int
    waiting: int
    nbytes: int
    pid: int


class Lifetime:
    """What stage the process is in, from the messages that are heard of it.

    A run that ended is followed by another at once, and by later and later ones while none does a job. Loading that
    failed is tried again, but not where the model itself is wrong.

    Attributes:
        stage, fraction, message, starts: as :class:`ModelState` has them.
        start_at: when to start the process that is not there, ``time.monotonic()``; infinite: never.
        loaded_by: when a process that loads must have been heard of again.
    """

    def __init__(self, log: Any):
        self._log = log
        self.stage, self.fraction, self.message = "off", 0.0, NO_MODEL
        self.starts = self._failures = 0
        self.start_at = self.loaded_by = 0.0

    def begin(self) -> None:
        """A process is being started."""
        self.stage, self.fraction, self.message = "loading", 0.0, "starting"
        self.starts += 1
        self.loaded_by = monotonic() + LOADING

    def hear(self, kind: str, values: tuple) -> None:
        """``loading``, ``ready`` or ``failed``."""
        if kind == "loading":
            stage, self.fraction = values
            self.message = f"{stage}, {self.fraction:.0%}"
            self.loaded_by = monotonic() + LOADING
        elif kind == "ready":
            self.stage, self.fraction, self.message = "ready", 1.0, "ready"
            self._log.info("the model is ready")
        else:
            code, text = values
            self.stage, self.message = "failed", text
            self._log.error(f"the model cannot be loaded: {text}")
            if code == ErrorCode.BAD_REQUEST:  # it will not get better by itself
                self.start_at = inf

    def worked(self) -> None:
        """The process has done a job."""
        self._failures = 0

    def ended(self, code: int | None) -> str:
        """The process has ended with this exit code, or could not be started at all (None); how that is said."""
        how = "cannot be started" if code is None else f"ended ({how_it_ended(code)})"
        text = f"the model's process {how}; it is started again"
        failed = self.stage == "failed"
        if not failed:
            self._log.error(text)
            self.stage, self.message = "restarting", text
        self.fraction = 0.0
        if self.start_at < inf:
            delay = 2.0 ** (self._failures - 1) if self._failures else 0.0  # at once after the first end
            self.start_at = monotonic() + min(max(delay, LEAST_BACKOFF if failed else 0.0), MOST_BACKOFF)
        self._failures += 1
        return text
