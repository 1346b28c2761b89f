"""The model's process: started by :mod:`child`, isolated from the folder that the user stands in, and by nobody else.

It is told what it will load, imports that, and waits until it is told to load it. Then it does one job after the other.
It ends with the process that started it, yields the processor to images (nice), and leaves Ctrl-C to its parent.
"""

import ctypes
import faulthandler
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic, sleep
from traceback import extract_tb, format_exception
from typing import Any

from ...errors import ErrorCode, SpatialError
from ...versions import outside
from ..question import Question
from .protocol import Channel, Message, Packed
from .pulse import BEAT

NICE = 10
SESSION_NICE = 5  # of a session, whose weight is not shared by what is beside it: a third of the others'
AUTOGROUP = Path("/proc/self/autogroup")  # man 7 sched
PR_SET_PDEATHSIG = 1
TEXT_EVERY = 0.05  # s between two pieces of an answer that is being generated
LONGEST = 20_000  # characters of a traceback, its end
CLIPS = 256  # clips whose decodable frames are remembered
BROKEN_GPU = ("CUDA error", "CUDA failure")  # of torch, of ONNX Runtime: nothing works there any more in this process
PACKAGE = "spatial_mllm_ros"
DETAILS = "the node's log has the details"


class Worker:
    """Does the jobs that arrive on a channel, one at a time.

    One thread listens meanwhile for cancellations. Another sends heartbeats, whenever the interpreter is free for it.
    """

    def __init__(self, channel: Channel):
        self._channel = channel
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._told: set[tuple] = set()  # places where something unexpected was raised
        self._canceled = 0  # the latest job that is not wanted any more
        self._shown: OrderedDict[Any, Sequence[int]] = OrderedDict()  # clip -> which of its frames could be decoded
        Thread(target=self._beat, name="heart", daemon=True).start()
        Thread(target=self._listen, name="listener", daemon=True).start()

    def _beat(self) -> None:
        with suppress(OSError):  # the parent may end at any moment
            while True:
                self._channel.send("beat")
                sleep(BEAT)

    def _listen(self) -> None:
        while (message := self._channel.receive()) is not None:
            if message.kind == "cancel":
                self._canceled = message.values[0]
            self._inbox.put(message)
            del message  # or its frames would stay mapped until the next one comes
        os._exit(0)  # the parent has ended, or wants this process to; whatever the model is doing

    def run(self) -> None:
        if not self._load():
            return
        while True:
            message = self._inbox.get()
            if message.kind in ("cancel", "frames"):  # of a job that has ended meanwhile
                continue
            number = message.values[0]
            try:
                getattr(self, f"_{message.kind}")(message)
            except SpatialError as error:
                self._channel.send("error", number, int(error.code), error.message)
            except BaseException as error:  # a panic of Rust code is no Exception
                self._tell(error)
                hopeless = any(sign in str(error) for sign in BROKEN_GPU)
                self._channel.send(
                    "last" if hopeless else "error", number, int(ErrorCode.FAILED), _reason(error, "ask again")
                )
                if hopeless:
                    sys.exit(1)

    def _load(self) -> bool:
        module, _, name = self._inbox.get().values[0].partition(":")
        with suppress(BaseException):  # it will happen again, and be told, when it is wanted
            import_module(module)
        (options,) = self._inbox.get().values
        try:
            self._engine = getattr(import_module(module), name)(**options, progress=self._progress)
        except SpatialError as error:
            self._channel.send("failed", int(error.code), error.message)
            return False
        except BaseException as error:
            self._tell(error)
            missing = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
            if missing and missing != PACKAGE:
                text = f"{missing} is not installed, which the model needs: pip install '{PACKAGE}[mllm]'"
                self._channel.send("failed", int(ErrorCode.BAD_REQUEST), text)
            else:  # what cannot be imported now cannot be imported later, and what panics will do so again
                passing = isinstance(error, Exception) and not isinstance(error, ImportError)
                code = ErrorCode.FAILED if passing else ErrorCode.BAD_REQUEST
                self._channel.send("failed", int(code), f"loading failed: {_reason(error)}")
            return False
        self._channel.send("ready", self._engine.calibration, getattr(self._engine, "taken", ""))
        return True

    def _tell(self, error: BaseException) -> None:
        """The traceback, for the node's log; once, however often the same happens."""
        lines = format_exception(error)
        place = type(error), *((frame.filename, frame.lineno) for frame in extract_tb(error.__traceback__))
        text = "".join(lines) if place not in self._told else f"as before: {lines[-1]}"
        self._channel.send("traceback", text[-LONGEST:].rstrip())
        self._told.add(place)

    def _progress(self, stage: str, fraction: float) -> None:
        self._channel.send("loading", stage, float(fraction))

    def _ask(self, message: Message) -> None:
        """A question about a clip, whose frames are sent for only if it is not known yet."""
        number, key, text, options, answer_type, with_reasoning, not_observed = message.values
        seconds = self._encode(number, key)
        self._channel.send("stage", number, "generating")
        last = 0.0

        def on_text(text: str) -> None:
            nonlocal last
            if monotonic() - last >= TEXT_EVERY:
                last = monotonic()
                self._channel.send("text", number, text)

        answer = self._engine.answer(
            key,
            Question(text, options, answer_type, with_reasoning),
            on_text=on_text,
            stop=lambda: self._canceled == number,
            not_observed=not_observed,
        )
        shown = self._shown[key]
        frames = tuple(shown[i] for i in answer.frames)
        self._channel.send("answer", number, replace(answer, frames=frames, seconds_encode=seconds))

    def _motion(self, message: Message) -> None:
        """A question about two frames that will not be asked about again."""
        key = message.values[1]
        try:
            self._ask(message)
        finally:
            self._engine.drop(key)
            self._shown.pop(key, None)

    def _warm(self, message: Message) -> None:
        number, key = message.values
        self._encode(number, key)
        self._channel.send("done", number)

    def _encode(self, number: int, key: Any) -> float:
        """Make sure that a clip is known; seconds that took, 0 where it was."""
        if key in self._shown and self._engine.has(key):
            self._shown.move_to_end(key)
            return 0.0
        self._channel.send("stage", number, "encoding")
        images = self._images(number)
        seconds = self._engine.encode(key, images.arrays, stop=lambda: self._canceled == number)
        self._shown[key] = images.values[1]
        if len(self._shown) > CLIPS:
            self._shown.popitem(last=False)
        return seconds

    def _geometry(self, message: Message) -> None:
        (number,) = message.values
        window = self._engine.geometry(self._images(number).arrays)
        arrays = window.depth, window.confidence, window.window_from_camera, window.intrinsics
        with Packed(arrays) as packed:
            self._channel.send("geometry", number, packed=packed)

    def _images(self, number: int) -> Message:
        """The frames of a job; its values are (number, indices of those that could be decoded)."""
        self._channel.send("frames?", number)
        while self._canceled != number:
            message = self._inbox.get()
            if message.kind == "frames" and message.values[0] == number:
                return message
        raise SpatialError(ErrorCode.CANCELED, "canceled")


def _reason(error: BaseException, remedy: str = "") -> str:
    """One line for a caller, without paths or a traceback, which go to the log; ``remedy`` where nothing better is."""
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return f"out of memory: expected fewer frames, a smaller model or a shorter dtype; {DETAILS}"
    if odd := outside():
        return f"the model failed: {'; '.join(odd)}; {DETAILS}"
    name = type(error).__name__
    if not isinstance(error, Exception):  # a panic, whose first line says what of and names no files
        name = ": ".join(filter(None, (name, str(error).partition("\n")[0][:200])))
    return "; ".join(filter(None, (f"the model failed ({name})", remedy, DETAILS)))


def die_with(parent: int) -> None:
    """Have the kernel end this process when the parent's thread that started it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has ended already")


def main() -> None:
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # the parent asks where this process hangs
    die_with(parent)
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):  # a session of its own is weighed as a whole, whatever the nice value of its processes
        AUTOGROUP.write_text(str(SESSION_NICE))
    with suppress(OSError):  # the parent may end at any moment
        Worker(Channel.inherited(fd)).run()


if __name__ == "__main__":
    main()
