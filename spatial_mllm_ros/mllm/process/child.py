"""One run of the model's process: started, listened to, ended. Needs no torch."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from ...isolated import FOR_MODELS, GENERAL, environment, run_module
from .protocol import Channel, Message
from .pulse import Pulse

MODULE = "spatial_mllm_ros.mllm.process.worker"
MOST_LINES, MOST_CHARACTERS = 200, 500  # of what the process prints, in the log
LAST_LINES = 100  # of what it prints, kept for the log in case that it ends unexpectedly
LAST_WORDS = 5.0  # s that a process which closed its channel, or was killed, has to end
WHERE = 0.2  # s that a process which hangs has to say where


class Child:
    """A worker process. It imports what it will need at once, and loads the engine when it is told to.

    The kernel ends it when the thread that made it ends: make it in a thread that lives as long.

    Args:
        engine: import path ``module:name``.
        options: the engine's arguments.
        log: logger with ``debug``, for what the process prints, and ``error``, for tracebacks.
        heard: called with (this, message) from a thread of its own; the last one is ``end`` with the exit code.
    Attributes:
        pulse: whether the process lives.
    """

    def __init__(self, engine: str, options: dict[str, Any], log: Any, heard: Callable[["Child", Message], None]):
        self._options, self._log, self._heard = options, log, heard
        self.channel, theirs = Channel.pair()
        try:
            self.process = subprocess.Popen(
                run_module(MODULE, str(theirs.fileno()), str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=its_environment(options),
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which ends this process
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pulse = Pulse(self.process.pid)
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._threads = [Thread(target=f, name=f.__name__.strip("_"), daemon=True) for f in (self._listen, self._print)]
        for thread in self._threads:
            thread.start()
        self.send("prepare", engine)

    def load(self) -> None:
        """Have it load the engine; what comes of that is heard."""
        self.send("load", self._options)

    def send(self, kind: str, *values: Any, packed: Any = None) -> None:
        """Send a message; one that cannot arrive is forgotten, for ``end`` will be heard soon."""
        with suppress(OSError):
            self.channel.send(kind, *values, packed=packed)

    def kill(self) -> None:
        """End the process, and those that it started, now."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill_hung(self) -> None:
        """End the process, once it has said where it hangs: ``faulthandler`` does so in whatever call it is."""
        if not self.pulse.stopped:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(WHERE)
        self.kill()

    def close(self) -> None:
        """End the process and everything that listens to it; returns when both are gone, or cannot be ended."""
        self.kill()
        try:
            self.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._log.error(f"process {self.process.pid} of the model cannot be killed: it is left to itself")
            return
        for thread in self._threads:
            thread.join(LAST_WORDS)
        self.channel.close()

    @property
    def printed(self) -> str:
        """The last lines that the process has printed."""
        return "\n".join(self._lines)

    @property
    def nbytes(self) -> int:
        """Resident memory of the process, bytes; 0 once it has ended."""
        try:
            with open(f"/proc/{self.process.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def _listen(self) -> None:
        while (message := self.channel.receive()) is not None:
            self.pulse.beat()
            if message.kind == "traceback":
                self._log.error(f"the model's process: {message.values[0]}")
            elif message.kind != "beat":
                self._heard(self, message)
            del message  # or its arrays would stay mapped until the next one comes
        try:
            code = self.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.wait()
        self._heard(self, Message("end", (code,), []))

    def _print(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            number = 0
            while line := lines.readline(MOST_CHARACTERS):
                number += 1
                if text := line.decode("utf-8", "replace").rstrip():
                    self._lines.append(text)
                    if number <= MOST_LINES:
                        self._log.debug(f"model process: {text}")
                if number == MOST_LINES + 1:
                    self._log.debug("model process: prints more, which is not shown")


def its_environment(options: dict[str, Any]) -> dict[str, str]:
    """What the process needs of this one's environment; one core is left to the images unless the user has said how
    many threads. The token for the hub goes along where a model or an adapter is no folder."""
    cores = len(os.sched_getaffinity(0))
    defaults = {
        "OMP_NUM_THREADS": str(max(1, cores - 1)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    hub = any(str(options.get(name) or "") and not Path(str(options[name])).is_dir() for name in ("path", "adapter"))
    return defaults | environment((*GENERAL, *FOR_MODELS), hub)


def how_it_ended(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
