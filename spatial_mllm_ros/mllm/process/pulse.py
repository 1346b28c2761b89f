"""Whether a process lives: its beats, and where those stay away, what the kernel says its threads do."""

from contextlib import suppress
from pathlib import Path
from time import monotonic

BEAT = 0.1  # s between two beats of a process
LOOK = 0.25  # s between two looks at it
AT_WORK = frozenset("RDt")  # runs or waits for a processor; waits for a disk or a device; is held by a debugger


class Pulse:
    """The beats of one process. Any thread may tell of a beat, one thread looks.

    A beat comes from a thread of Python, so that it says that the process runs and that no call keeps the interpreter
    to itself; torch gives it away while it computes. Where none comes, the kernel tells a process that is busy from
    one that is stopped or waits for ever. Time counts only while this side is awake: a node that was itself stopped
    for a minute has not heard of anything, and that is no fault of the process.

    Args:
        pid: the process.
    Attributes:
        silent: s without a beat.
        still: s without a beat, up to the latest look, in which none of its threads worked.
        stopped: whether it was stopped (SIGSTOP) at the latest look.
        due: when to look again, ``time.monotonic()``.
    """

    def __init__(self, pid: int):
        self._pid = pid
        self._looked = monotonic()
        self._heard = self.stopped = False
        self.silent = self.still = 0.0

    @property
    def due(self) -> float:
        return self._looked + LOOK

    def beat(self) -> None:
        """Something was heard of it."""
        self._heard = True

    def look(self) -> None:
        """Count what has passed since the latest look, if it is time."""
        if (now := monotonic()) < self.due:
            return
        passed, self._looked = min(now - self._looked, 2 * LOOK), now
        if self._heard:
            self._heard = self.stopped = False
            self.silent = self.still = 0.0
            return
        states = thread_states(self._pid)
        self.stopped = states == {"T"}
        self.silent += passed
        self.still = 0.0 if states & AT_WORK else self.still + passed

    def __str__(self) -> str:
        what = "it is stopped" if self.stopped else "none of its threads works" if self.still else "it is busy"
        return f"no heartbeat for {self.silent:.1f} s, {what}"


def thread_states(pid: int) -> set[str]:
    """What the threads of a process do, as letters of proc_pid_stat(5); empty where there is no such process."""
    states: set[str] = set()
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # one that has ended meanwhile
                states.add(chr((thread / "stat").read_bytes().rpartition(b")")[2].split()[0][0]))
    return states
