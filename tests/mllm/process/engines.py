"""Engines for the worker process that misbehave on purpose; the text of a question says how.

The model's path is a folder, in which calls are recorded and where files say what else is to happen.
"""

import ctypes
import hashlib
import os
import signal
import sys
import time
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.geometry.window import WindowGeometry
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.mllm.question import Answer, Verdict

TOKEN = 0.005  # s


TEXTURE = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 255, (72, 2000), np.uint8), (5, 5), 0)
TEXTURE = cv2.normalize(TEXTURE, None, 0, 255, cv2.NORM_MINMAX)  # the wall of tests/node/scene.py


class PanicException(BaseException):
    """As pyo3 raises it where Rust code panics: no Exception."""


def lasting(work, seconds):
    """Have one call of work(n) take these seconds or more, by the fastest of some small ones; how long it has taken."""

    def timed(count):
        start = time.perf_counter()
        work(count)
        return time.perf_counter() - start

    return timed(int(100_000 * seconds / min(timed(100_000) for _ in range(5))))


class Engine:
    """Remembers scenes, and answers with what it was shown."""

    calibration = Calibration(motion_confidence=0.5, max_frames=4)

    def __init__(self, path, *, progress=None, **options):
        self.folder = Path(path)
        self.scenes = {}
        self.record("load", options["max_tokens"], os.getpid())
        progress("weights", 0.25)
        load = self.told("load")
        if load == "refuse":
            raise SpatialError(ErrorCode.BAD_REQUEST, "the model lacks tensors: visual.merger, and 3 more")
        if load == "old":
            raise ImportError("cannot import name 'Qwen2_5_VLRMSNorm'")
        if load == "break":
            raise RuntimeError(f"something in {self.folder}")
        if load == "panic":
            raise PanicException("index out of range\nin the vocabulary")
        if load == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if load == "wait":
            self.gate("loading")
        if load == "once":  # dies at the first start only
            (self.folder / "load").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        print("loaded", flush=True)

    def told(self, what):
        file = self.folder / what
        return file.read_text() if file.exists() else ""

    def record(self, *words):
        with open(self.folder / "calls", "a") as file:
            file.write(" ".join(str(w) for w in words) + "\n")

    def gate(self, name):
        """Say that this point is reached, and wait there until somebody writes into the pipe."""
        pipe = self.folder / f"{name}.gate"
        os.mkfifo(pipe)
        self.record("gate", name)
        pipe.read_text()
        pipe.unlink()

    def has(self, key):
        return key in self.scenes

    def encode(self, key, images, stop):
        assert all(image.dtype == np.uint8 and not image.flags.writeable for image in images)
        self.record("encode", len(images), [image.shape for image in images])
        if self.told("encode") == "wait":
            self.gate("encoding")
        if self.told("encode") == "slow":
            self.until(stop)
        self.scenes[key] = [float(image.mean()) for image in images]
        return 0.25

    def drop(self, key):
        self.record("drop")
        self.scenes.pop(key)

    def until(self, stop, tell=lambda n: None, tokens=10**9):
        for n in range(tokens):
            if stop():
                self.record("stopped")
                raise SpatialError(ErrorCode.CANCELED, "canceled")
            tell(n)
            time.sleep(TOKEN)

    def answer(self, key, question, *, on_text, stop, not_observed):
        self.record("answer", question.text)
        means = self.scenes[key]
        word = question.text.partition(" ")[0]
        if word == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "exit":
            sys.stdout.flush()
            os._exit(7)
        if word == "panic":
            raise PanicException("index out of range\nin the vocabulary")
        if word == "deadlock":  # in a call that keeps the interpreter
            self.record("hangs")
            ctypes.PyDLL(None).sleep(3600)
        if word == "orphan":  # leaves somebody behind who keeps the channel open
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            ctypes.PyDLL(None).sleep(3600)
        if word == "keeps":  # works, and keeps the interpreter
            self.record("took", lasting(lambda n: sum(repeat(1, n)), float(question.text.split()[1])))
        if word == "native":  # works, without the interpreter
            derive = lambda n: hashlib.pbkdf2_hmac("sha256", b"", b"", n)  # noqa: E731
            self.record("took", lasting(derive, float(question.text.split()[1])))
        if word == "waits":  # for a GPU, say
            self.record("took", lasting(lambda n: time.sleep(n * 1e-6), float(question.text.split()[1])))
        if word == "memory":
            raise MemoryError
        if word == "defect":
            raise ValueError(f"in {self.folder}")
        if word == "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if word == "unsure":
            raise SpatialError(ErrorCode.BAD_REQUEST, "the question makes no sense")
        if word == "gate":
            self.gate("answering")
        if word == "long":
            self.until(stop, lambda n: on_text(" ".join(["token"] * (n + 1))))
        if word == "say":
            self.until(stop, lambda n: on_text("word " * n), 40)
        if word == "pixel":
            return Answer(Verdict.ANSWERED, "there", vector=(0.5, 0.25, 0.0), frames=(1,), note="half of the frames")
        if word == "refuse":
            return Answer(Verdict.NOT_OBSERVED, "not visible", confidence=0.75, frames=tuple(range(len(means))))
        text = f"{[round(m) for m in means]} {not_observed}"
        return Answer(Verdict.ANSWERED, text, frames=tuple(range(len(means))), seconds_generate=0.5)

    def geometry(self, images):
        self.record("geometry", len(images))
        depth = np.stack([image[..., 0] for image in images]).astype(np.float32)
        if self.told("geometry") == "broken":
            depth = depth[0]
        n = len(images)
        return WindowGeometry(depth, depth + 1, np.tile(np.eye(4), (n, 1, 1)), np.tile(np.eye(3), (n, 1, 1)))


class WallEngine(Engine):
    """Sees the wall of the node's tests exactly, in a unit and a frame of coordinates of its own for each window."""

    def geometry(self, images):
        self.record("geometry", len(images))
        unit = 0.3 + 0.1 * (images[0].sum() % 7)  # metres
        n, height, width, _ = (len(images), *images[0].shape)
        steps = [cv2.minMaxLoc(cv2.matchTemplate(TEXTURE, image[..., 0], cv2.TM_SQDIFF))[2][0] for image in images]
        poses = np.tile(np.eye(4), (n, 1, 1))
        poses[:, 0, 3] = (np.array(steps) - steps[0]) * (2.0 / 80.0) / unit
        depth = np.full((n, height, width), 2.0 / unit, np.float32)
        intrinsics = np.array([[80.0, 0, (width - 1) / 2], [0, 80.0, (height - 1) / 2], [0, 0, 1]])
        return WindowGeometry(depth, np.ones_like(depth), poses, np.tile(intrinsics, (n, 1, 1)))


class MotionEngine(Engine):
    """Says that things moved by as many millimetres as two images differ in mean brightness, times 10."""

    def answer(self, key, question, *, on_text, stop, not_observed):
        if not question.text.startswith("Compare the two views"):
            return super().answer(key, question, on_text=on_text, stop=stop, not_observed=not_observed)
        self.record("motion", len(self.scenes[key]))
        if self.told("motion") == "wait":
            self.gate("moving")
        if self.told("motion") == "slow":
            self.until(stop)
        first, last = self.scenes[key]
        metres = abs(round(last - first)) / 100
        sure = float(self.told("confidence") or 0.75)
        return Answer(Verdict.ANSWERED, f"{1000 * metres:g} mm", metres, "m", confidence=sure, frames=(0, 1))
