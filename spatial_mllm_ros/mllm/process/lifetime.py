"""The life of the model's process, run after run: started, loading, ready, hanging, ended, and started again."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from ...errors import ErrorCode
from .child import Child, how_it_ended

UNRESPONSIVE = 0.5  # s without a heartbeat after which that is shown
SLOW = 30.0  # s without a heartbeat that a process may take whose threads work, or that still loads
LOADING = 1800.0  # s without any progress after which loading is given up
KILLED = 5.0  # s that a process which was killed has to end
PAUSE = 1.0  # s until the third run, twice as long for each further one; the second begins at once
LEAST_BACKOFF = 5.0  # s until the next try after loading failed
MOST_FAILURES = 8  # runs that end in a row, without a job done
SETTLED = 5.0  # s that a run has been ready before a spare process is started beside it
LIVED = 60.0  # s that a run has been ready whose end begins a new row
NO_MODEL = "no model is configured: set the parameter ask.model"
AGAIN = "; it is started again"


@dataclass(frozen=True)
class ModelState:
    """How the model is.

    Attributes:
        stage: ``off`` (none is configured), ``loading``, ``ready``, ``unresponsive``, ``restarting``, ``failed`` or
            ``closed``.
        fraction: part that is loaded, 0..1.
        message: what it is doing, or why it cannot; for people.
        restarts: times that the process was started again.
        last_end: why it was, the last time; empty where it never was.
        silent: seconds since the process was last heard of.
        waiting: questions in the queue.
        nbytes: resident memory of the process, bytes.
        pid: its process id, 0 where there is none.
        spare: resident memory of the spare process, bytes; 0 where there is none.
        loaded: which revision of the model, and what runs its encoders, where that is not torch; in words.
        encoding: ms per frame of the clip that was encoded last for a question; 0: none was.
    """

    stage: str
    fraction: float
    message: str
    restarts: int
    last_end: str
    silent: float
    waiting: int
    nbytes: int
    pid: int
    spare: int
    loaded: str = ""
    encoding: float = 0.0


class Lifetime:
    """Starts the process, replaces it where it hangs, and starts it again when it has ended.

    A run that ended is followed by another at once, and by later and later ones while none does a job, at last by none.
    Loading that failed is tried again likewise, but not where the model itself is wrong. A process hangs that was not
    heard of and did not work for ``heartbeat_timeout``. One that works is given longer: it may keep the interpreter to
    itself, as imports do. So is one that loads: a driver may keep it waiting.

    Most of a start is imports. So a spare process may wait beside the one that is ready, with its imports done.

    Args:
        log: logger with ``info`` and ``error``.
        make: starts a process, which then waits until it is told to load.
        heartbeat_timeout: s.
        with_spare: whether to keep a spare process.
    Attributes:
        child: the process, None where there is none.
        spare: the one that would take its place, None where there is none.
        stage, fraction, message: as :class:`ModelState` has them.
        job: kind of the job that it was last given; empty once that was done.
    """

    def __init__(self, log: Any, make: Callable[[], Child], heartbeat_timeout: float, with_spare: bool = False):
        self._log, self._make, self._with_spare = log, make, with_spare
        self._timeout, self._slow = heartbeat_timeout, max(SLOW, heartbeat_timeout)
        self.child: Child | None = None
        self.spare: Child | None = None
        self.stage, self.fraction, self.message = "off", 0.0, NO_MODEL
        self.job = self._ended_in = self._last_end = self._loaded = ""
        self._starts = self._failures = 0
        self._start_at = self._loaded_by = 0.0
        self._ready_at = self._gone_by = self._spare_at = inf

    def state(self, waiting: int) -> ModelState:
        child, stage, message = self.child, self.stage, self.message
        if child is not None and stage in ("loading", "ready") and self._silence >= UNRESPONSIVE:
            stage, message = "unresponsive", str(child.pulse)
        return ModelState(
            stage=stage,
            fraction=self.fraction,
            message=message,
            restarts=max(0, self._starts - 1),
            last_end=self._last_end,
            silent=child.pulse.silent if child else 0.0,
            waiting=waiting,
            nbytes=child.nbytes if child else 0,
            pid=child.process.pid if child else 0,
            spare=self.spare.nbytes if self.spare else 0,
            loaded=self._loaded,
        )

    @property
    def due(self) -> float:
        """When to look again, ``time.monotonic()``; infinite: never."""
        if self.child is None:
            return self._start_at
        return self._gone_by if self._killed else min(self.child.pulse.due, self._spare_at)

    def look(self) -> str:
        """Start the process where that is due, kill it where it hangs; then why what it was doing has failed."""
        now, child = monotonic(), self.child
        if child is None:
            if now >= self._start_at:
                self._begin()
            return ""
        if self._killed:
            if now >= self._gone_by:
                self._log.error(f"process {child.process.pid} of the model cannot be killed: it is left to itself")
                self.child = None
            return ""
        child.pulse.look()
        if self.stage == "loading" and now >= self._loaded_by:
            return self.replace(f"has loaded nothing for {LOADING:g} s")
        quick = self.stage == "ready" or child.pulse.stopped
        if self._silence >= self._slow or (quick and child.pulse.still >= self._timeout):
            return self.replace(f"hangs ({child.pulse})")
        if now >= self._spare_at:
            self._spare_at = inf
            with suppress(OSError):  # no memory or no processes left: then without
                self.spare = self._make()
        return ""

    def hear(self, kind: str, values: tuple) -> None:
        """``loading``, ``ready`` or ``failed``."""
        if self._killed:
            return
        if kind == "loading":
            stage, self.fraction = values
            self.message = f"{stage}, {self.fraction:.0%}"
            self._loaded_by = monotonic() + LOADING
        elif kind == "ready":
            self.stage, self.fraction, self.message = "ready", 1.0, "ready"
            self._ready_at = monotonic()
            if self._with_spare and self.spare is None:
                self._spare_at = self._ready_at + SETTLED
            self._loaded = "".join(values[1:])
            self._log.info(f"the model is ready: {self._loaded}" if self._loaded else "the model is ready")
        else:
            code, text = values
            self.stage, self.message = "failed", text
            self._log.error(f"the model cannot be loaded: {text}")
            if code == ErrorCode.BAD_REQUEST:  # it will not get better by itself
                self._start_at = inf
                self.end_spare()

    def worked(self) -> None:
        """The process has done a job. It still counts what kills it if that is another kind of job."""
        if self._ended_in in ("", self.job):
            self._failures, self._ended_in = 0, ""
        self.job = ""

    def replace(self, why: str) -> str:
        """Kill the process, and have another started once it has ended; why what it was doing has failed."""
        assert self.child is not None
        text = self.message if self.stage == "failed" else self._over(why)
        self.child.kill_hung()
        self._gone_by = monotonic() + KILLED
        return text

    def ended(self, code: int) -> str:
        """The process has ended with this exit code; why what it was doing has failed."""
        assert self.child is not None
        child, self.child, self.fraction = self.child, None, 0.0
        child.close()
        if self._killed and child.printed and not child.pulse.stopped:
            self._log.error(f"the model's process printed last:\n{child.printed}")
        if self.stage == "failed":
            self._try_again(LEAST_BACKOFF)
        elif not self._killed:
            self._over(f"ended ({how_it_ended(code)})", child.printed)
        return self.message

    def end_spare(self) -> None:
        """End the spare process, or what is left of it."""
        spare, self.spare = self.spare, None
        if spare is not None:
            spare.close()

    def _begin(self) -> None:
        self.stage, self.fraction, self.message = "loading", 0.0, "starting"
        self.job = self._loaded = ""
        self._starts += 1
        self._loaded_by = monotonic() + LOADING
        self._ready_at = self._gone_by = self._spare_at = inf
        try:
            self.child, self.spare = self.spare or self._make(), None
            self.child.load()
        except OSError as error:  # no memory or no processes left
            self._over(f"cannot be started ({error})")

    def _over(self, how: str, printed: str = "") -> str:
        """A run is over that went wrong."""
        if monotonic() - self._ready_at >= LIVED:
            self._failures = 0
        self.stage, self.message, self.fraction = "restarting", f"the model's process {how}{AGAIN}", 0.0
        self._ended_in = self.job
        self._log.error(self.message + (f"; it printed last:\n{printed}" if printed else ""))
        self._try_again(0.0)
        return self.message

    def _try_again(self, least: float) -> None:
        """Set when to start anew, after these seconds at least, or give up."""
        if self._start_at == inf:
            return
        self._last_end = self.message.removesuffix(AGAIN)
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            given_up = f"given up after {self._failures} tries in a row: mend what fails, then configure the node anew"
            self.stage, self._start_at, self.message = "failed", inf, f"{self._last_end}; {given_up}"
            self.end_spare()
            self._log.error(f"the model is {given_up}")
        else:
            pause = PAUSE * 2 ** (self._failures - 2) if self._failures > 1 else 0.0
            self._start_at = monotonic() + max(pause, least)

    @property
    def _killed(self) -> bool:
        """Whether the process was killed here, and its end is not yet heard."""
        return self._gone_by < inf

    @property
    def _silence(self) -> float:
        """Seconds without a heartbeat; unless it is ready, only those in which it does not work either."""
        assert self.child is not None
        return self.child.pulse.silent if self.stage == "ready" else self.child.pulse.still
