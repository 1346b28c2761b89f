"""A model's process over an engine of the tests, and what its tests wait with."""

import os
import threading
from time import monotonic

import numpy as np
import pytest

from spatial_mllm_ros.config import AskParams
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm.process.remote import ModelProcess
from spatial_mllm_ros.mllm.question import Question

ENGINE = "tests.mllm.process.engines:Engine"
SECONDS = 90.0  # until a test fails, on however loaded a machine; nothing waits for it to pass
CAMERA = Camera("camera", "optical", 8, 6, np.array([[8.0, 0, 3.5], [0, 8, 2.5], [0, 0, 1]]))
OTHER = Camera("other", "optical", 16, 12, np.array([[8.0, 0, 3.5], [0, 8, 2.5], [0, 0, 1]]))


class Log:
    """A logger that keeps all messages, and those of each level."""

    def __init__(self):
        self.lines, self.debugged, self.errors = [], [], []

    def info(self, text):
        self.lines.append(text)

    warning = info

    def debug(self, text):
        self.info(text)
        self.debugged.append(text)

    def error(self, text):
        self.info(text)
        self.errors.append(text)


def frames(count=2, start=0, camera=CAMERA):
    """Frame i, counted from start, is all of value 10 (i + 1)."""
    made = []
    for i in range(start, start + count):
        image = np.full((camera.height, camera.width, 3), 10 * (i % 25 + 1), np.uint8)
        made.append(Frame(1_000_000 * (i + 1), camera, image=image))
    return made


def poll(condition, what):
    """The condition's value once it is true; for what only the file system or the kernel knows."""
    tick, deadline = threading.Event(), monotonic() + SECONDS
    while not (value := condition()):
        assert monotonic() < deadline, f"{what}: not within {SECONDS:g} s"
        tick.wait(0.01)
    return value


class Bench:
    """A model process over an engine of the tests, with the folder that steers it."""

    def __init__(self, folder, started=True, **params):
        self.folder, self.log = folder, Log()
        params = AskParams(**({"model": str(folder), "timeout": SECONDS} | params))
        self.model = ModelProcess(params, self.log, ENGINE)
        if started:
            self.model.start()

    def ask(self, text="what", images=None, **options):
        return self.model.ask(Question(text), frames() if images is None else images, **options)

    @property
    def calls(self):
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def called(self, *words):
        """Wait until the engine has recorded a line that begins so."""
        line = " ".join(words)
        return poll(lambda: [c for c in self.calls if c.startswith(line)], f"call '{line}'")

    def open(self, gate):
        self.called("gate", gate)
        (self.folder / f"{gate}.gate").write_text("go")

    def stage(self, stage):
        return poll(lambda: self.model.state.stage == stage and self.model.state, f"stage '{stage}'")


def outcome(ticket, seconds=SECONDS):
    with pytest.raises(SpatialError) as error:
        ticket.result(seconds)
    return error.value.code, error.value.message


def fds(pid="self"):
    return len(os.listdir(f"/proc/{pid}/fd"))
