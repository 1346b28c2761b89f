"""Rewards of the model beside those of geometry: what it says about how far the targets of a report moved."""

from typing import TYPE_CHECKING

from ..config import MotionParams
from ..frames import Frame
from ..motion.asked import AskedTarget, MotionQuestion, Region, judge_of, middle
from ..motion.rewards import Reward

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine


class JudgedMotion:
    """Targets that a model is asked about; none where ``motion.source`` is geometry.

    Raises:
        SpatialError: BAD_REQUEST where a model is needed, and there is none or it was not calibrated for motion.
    """

    def __init__(self, engine: "Engine | None", params: MotionParams):
        self._engine = judge_of(engine, params.source)
        self._params = params
        self._targets: list[tuple[AskedTarget, list[Reward]]] = []

    def follow(self, rewards: list[Reward], label: str, frame: Frame, region: Region | None = None) -> None:
        """Ask about a target from the next frame on that :meth:`look` sees; what is said goes to ``rewards``."""
        if self._engine is not None:
            target = AskedTarget(label, frame.camera.name, region and middle(region, frame), self._params)
            self._targets.append((target, rewards))

    def look(self, frame: Frame) -> None:
        """A frame whose pixels can be decoded: the reference of targets without one."""
        for target, _ in self._targets:
            if target.camera == frame.camera.name and target.reference is None and frame.has_image:
                target.begin(Frame(frame.stamp_ns, frame.camera, image=frame.image))

    def wants(self, frame: Frame) -> bool:
        """Whether there is a question about this frame."""
        return any(t.camera == frame.camera.name and t.is_due(frame) for t, _ in self._targets)

    def judge(self, frame: Frame) -> None:
        """Ask about the targets that are due."""
        assert self._engine is not None and self._engine.calibration.motion_confidence is not None
        least = self._engine.calibration.motion_confidence
        for target, rewards in self._targets:
            if target.camera == frame.camera.name and target.is_due(frame):
                asked = MotionQuestion(target, frame)
                answer = self._engine.ask([f.image for f in asked.frames if f.image is not None], asked.question)
                rewards.append(target.judge(frame.stamp_ns, answer, least))
                target.asked_ns = frame.stamp_ns
