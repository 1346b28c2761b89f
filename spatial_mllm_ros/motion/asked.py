"""Rewards for motion as a model judges it: shown a reference frame and a later one, it is asked how far."""

from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..config import MotionParams
from ..errors import BadMessage, ErrorCode, SpatialError, bad
from ..frames import Frame
from ..mllm.question import Answer, AnswerType, Question, Verdict
from ..mllm.text.parsing import PIXEL_RANGE
from .body import Region, clipped
from .rewards import Reward

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

NOT_CALIBRATED = "it has no confidence from which on its answers are motion rewards: spatial-mllm-training calibrate"
SOURCE = "mllm"
# In the words of MultiSPA (Xu et al., 2025), which models are trained with: training/.../multispa/templates.
CAMERA_MOVED = (
    "Compare the two views and reason about the motion of the camera."
    " How far did the camera move between the two images, in millimetres?"
)
POINT_MOVED = (
    "The camera may have moved as well; only motion of things in the world counts."
    " How far did the point at ({x}, {y}) of the first image move in the world until the second image, in millimetres?"
    " Coordinates are (x, y) in thousandths of the image's width and height, counted from the top left corner."
)


class AskedTarget:
    """A camera, or the point behind a pixel, whose motion a model is asked about, at most once in an interval.

    The model says how far, not where to: rewards have no displacement, and there are none towards a goal. The path is
    that of the distance: what moves in a circle around its reference has none.

    Args:
        label: name in the rewards.
        camera: whose frames.
        pixel: (u, v) in the reference frame of what is followed; None: the camera itself.
        params: ``ask_interval`` and ``deadband``.

    Attributes:
        label, camera, pixel: as given.
        reference: the frame that motion counts from; None before :meth:`begin`.
        asked_ns: stamp of the latest frame that was asked about, or of the reference.
    """

    label: str
    camera: str
    pixel: tuple[float, float] | None
    reference: Frame | None
    asked_ns: int
    _params: MotionParams
    _distance: float
    _path: float
    _anchor: float

    def __init__(self, label: str, camera: str, pixel: tuple[float, float] | None, params: MotionParams):
        self.label, self.camera, self.pixel = label, camera, pixel
        self.reference = None
        self.asked_ns = 0
        self._params = params
        self._distance = self._path = self._anchor = 0.0

    def begin(self, frame: Frame) -> None:
        """Motion counts from this frame.

        Raises:
            SpatialError: NO_FRAMES where it has no image, or one that cannot be decoded.
        """
        lacks = "" if frame.has_image else "no image"
        try:
            frame.decoded()
        except BadMessage as error:
            lacks = f"no image that can be decoded ({error})"
        if lacks:
            text = f"the frame at {frame.stamp_ns / 1e9:.3f} s has {lacks}, which the model needs"
            raise SpatialError(ErrorCode.NO_FRAMES, text)
        self.reference, self.asked_ns = frame, frame.stamp_ns

    def is_due(self, frame: Frame) -> bool:
        """Whether to ask about a frame of its camera."""
        passed = frame.stamp_ns - self.asked_ns
        return self.reference is not None and frame.has_image and passed >= max(1, self._params.ask_interval * 1e9)

    def question(self) -> Question:
        """How far it moved from the first to the second of two frames."""
        if self.pixel is None:
            return Question(CAMERA_MOVED, answer_type=AnswerType.NUMBER)
        assert self.reference is not None
        (u, v), camera = self.pixel, self.reference.camera
        x, y = PIXEL_RANGE * round(u) // camera.width, PIXEL_RANGE * round(v) // camera.height
        return Question(POINT_MOVED.format(x=x, y=y), answer_type=AnswerType.NUMBER)

    def judge(self, stamp_ns: int, answer: Answer, least: float) -> Reward:
        """The reward of the frame that was asked about.

        It is valid for a length, said with a confidence of ``least`` by a model that saw both images.
        """
        assert self.reference is not None
        reason = ""
        if answer.frames != (0, 1):
            reason = "the model did not see both images"
        elif answer.verdict != Verdict.ANSWERED or answer.unit != "m" or not isfinite(answer.value):
            reason = f"the model says '{answer.text}', which is no length"
        elif answer.confidence < least:
            reason = f"the model is sure to {answer.confidence:.2f}, which is less than {least:.2f}"
        told = {"reference_ns": self.reference.stamp_ns, "source": SOURCE}
        if reason:
            return Reward(stamp_ns, self.label, valid=False, path_length=self._path, reason=reason, **told)
        distance = abs(answer.value)
        gained, self._distance = distance - self._distance, distance
        if (step := abs(distance - self._anchor)) > self._params.deadband:
            self._path, self._anchor = self._path + step, distance
        return Reward(
            stamp_ns,
            self.label,
            valid=True,
            distance=distance,
            path_length=self._path,
            reward=gained,
            confidence=answer.confidence,
            **told,
        )


@dataclass(frozen=True, eq=False)
class MotionQuestion:
    """How far a target moved from its reference to a frame."""

    target: AskedTarget
    frame: Frame

    @property
    def question(self) -> Question:
        return self.target.question()

    @property
    def frames(self) -> list[Frame]:
        """The two frames that the question is about."""
        assert self.target.reference is not None
        return [self.target.reference, self.frame]


class AskedTargets:
    """All targets of a run that a model is asked about: one question at a time, of each camera its newest frame.

    Empty where ``motion.source`` is geometry. What it holds is one reference a target and one frame a camera.
    """

    _params: MotionParams
    _targets: dict[str, AskedTarget]
    _latest: dict[str, Frame]

    def __init__(self, params: MotionParams):
        self._params = params
        self._targets = {}
        self._latest = {}

    def __getstate__(self) -> dict[str, Any]:
        """What is kept: a frame that nobody has been asked about gives way to the next."""
        return self.__dict__ | {"_latest": {}}

    @property
    def labels(self) -> list[str]:
        return list(self._targets)

    def set(self, label: str, camera: str, frame: Frame | None, region: Region | None, has_goal: bool) -> None:
        """Follow a camera, or what is in the middle of a region of its image, from a frame on.

        With a goal, or without a usable image beside geometry, the model is not asked about this label any more.

        Args:
            frame: the reference; None, for a camera: the next that has an image.
        Raises:
            SpatialError: nothing has changed then; BAD_REQUEST for a region outside the image, NO_FRAMES where the
                model alone is asked and the frame has no image that can be decoded.
        """
        if self._params.source == "geometry":
            return
        pixel = None if frame is None or region is None else middle(region, frame)
        target = AskedTarget(label, camera, pixel, self._params)
        try:
            if frame is not None:
                target.begin(frame)
        except SpatialError:
            if self._params.source == "mllm":
                raise
        self._targets.pop(label, None)
        if not has_goal and (frame is None or target.reference is not None):
            self._targets[label] = target

    def remove(self, label: str) -> None:
        """Ask about this label no more; an answer that is on its way is dropped."""
        self._targets.pop(label, None)

    def jumped(self, camera: str) -> list[str]:
        """A camera has jumped: what it is asked about itself begins with its next image, regions end.

        Returns:
            Labels of what ended.
        """
        here = [target for target in self._targets.values() if target.camera == camera]
        for target in here:
            if target.pixel is None:
                self._targets[target.label] = AskedTarget(target.label, camera, None, self._params)
            else:
                self.remove(target.label)
        self._latest.pop(camera, None)
        return [target.label for target in here if target.pixel is not None]

    def wants(self, frame: Frame) -> bool:
        """Whether :meth:`look` at this frame gives a question, or a target its reference."""
        followers = (t for t in self._targets.values() if t.camera == frame.camera.name)
        return frame.has_image and any(t.reference is None or t.is_due(frame) for t in followers)

    def look(self, frame: Frame) -> None:
        """The newest frame of its camera; the reference of targets without one, unless its image is broken."""
        if not frame.has_image or not self._targets:
            return
        self._latest[frame.camera.name] = frame
        for target in self._targets.values():
            if target.camera == frame.camera.name and target.reference is None:
                with suppress(SpatialError):
                    target.begin(frame)

    def next(self) -> MotionQuestion | None:
        """What to ask now: about the newest frame of the target that waits longest; None: nothing yet."""
        for target in sorted(self._targets.values(), key=lambda t: t.asked_ns):
            frame = self._latest.get(target.camera)
            if frame is not None and target.is_due(frame):
                target.asked_ns = frame.stamp_ns
                return MotionQuestion(target, frame)
        return None

    def add(self, asked: MotionQuestion, answer: Answer, least: float) -> Reward | None:
        """The reward of an answer that needs a confidence of ``least``; None where its target is gone meanwhile."""
        if self._targets.get(asked.target.label) is not asked.target:
            return None
        return asked.target.judge(asked.frame.stamp_ns, answer, least)


def middle(region: Region, frame: Frame) -> tuple[float, float]:
    """The pixel (u, v) in the middle of what the image shows of a region; BAD_REQUEST where that is nothing."""
    left, top, right, bottom = clipped(region, frame.camera.width, frame.camera.height)
    return (left + right - 1) / 2, (top + bottom - 1) / 2


def judge_of(engine: "Engine | None", source: str) -> "Engine | None":
    """The model that is asked about motion where ``motion.source`` is this; None for geometry.

    Raises:
        SpatialError: BAD_REQUEST where one is needed, and there is none or it was not calibrated for motion.
    """
    if source == "geometry":
        return None
    if engine is None:
        raise bad(f"motion.source = {source} needs a model, and none is given: give one, or take geometry")
    if engine.calibration.motion_confidence is None:
        raise bad(f"{engine.name}: {NOT_CALIBRATED}")
    return engine
