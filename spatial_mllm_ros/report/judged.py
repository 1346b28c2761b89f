"""Rewards of the model beside those of geometry: what it says about how far the targets of a report moved."""

from typing import TYPE_CHECKING

from ..config import MotionParams
from ..frames import Frame
from ..motion.asked import AskedTarget, MotionQuestion, Region, middle
from ..motion.rewards import Reward

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

NEVER = 2.0  # as the least confidence: of a model that was not calibrated no answer is a reward


class JudgedMotion:
    """Targets that a model is asked about; none without a model, or where ``motion.source`` is geometry."""

    def __init__(self, engine: "Engine | None", params: MotionParams):
        self._engine = engine if params.source != "geometry" else None
        self._params = params
        self._targets: list[tuple[AskedTarget, list[Reward]]] = []

    def follow(self, rewards: list[Reward], label: str, frame: Frame, region: Region | None = None) -> None:
        """Ask about a target from this frame on; what is said goes to ``rewards``."""
        if self._engine is None or not frame.has_image:
            return
        target = AskedTarget(label, frame.camera.name, region and middle(region, frame), self._params)
        target.begin(Frame(frame.stamp_ns, frame.camera, image=frame.image))
        self._targets.append((target, rewards))

    def wants(self, frame: Frame) -> bool:
        """Whether there is a question about this frame."""
        return any(t.camera == frame.camera.name and t.is_due(frame) for t, _ in self._targets)

    def judge(self, frame: Frame) -> None:
        """Ask about the targets that are due."""
        assert self._engine is not None
        least = self._engine.calibration.motion_confidence
        for target, rewards in self._targets:
            if target.camera == frame.camera.name and target.is_due(frame):
                asked = MotionQuestion(target, frame)
                answer = self._engine.ask([f.image for f in asked.frames if f.image is not None], asked.question)
                rewards.append(target.judge(frame.stamp_ns, answer, NEVER if least is None else least))
                target.asked_ns = frame.stamp_ns
