"""The model is asked how far targets have moved, where rewards are wanted from it."""

from collections.abc import Callable
from typing import Any

from ..errors import ErrorCode, SpatialError
from ..mllm.process.remote import ModelProcess
from ..motion.asked import MotionQuestion
from ..motion.rewards import Reward
from ..scene.pipeline import SpatialPipeline
from .beside import Beside

NO_MODEL = "motion.source asks for rewards of a model, but there is none: set the parameter ask.model"
NOT_CALIBRATED = (
    "motion.source asks for rewards of a model that was not calibrated for them (motion_confidence in its"
    " calibration.json): it is not asked"
)


class MotionQuestions(Beside[MotionQuestion]):
    """One question at a time about the newest frame; one that gives way to a person's question is not asked again.

    Args:
        pipeline: has the questions, none where ``motion.source`` is geometry.
        publish: called with each reward.
        model, log: see ``Beside``.
    """

    def __init__(self, pipeline: SpatialPipeline, model: ModelProcess, publish: Callable[[Reward], None], log: Any):
        super().__init__("a question about motion", model, log)
        self._pipeline, self._publish = pipeline, publish
        if pipeline.config.motion.source == "geometry":
            return
        if model.model:
            self.start()
        else:
            log.warning(NO_MODEL)

    def refuses(self) -> str:
        return NOT_CALIBRATED if self._model.calibration.motion_confidence is None else ""

    def next(self) -> MotionQuestion | None:
        return self._pipeline.next_motion()

    def do(self, piece: MotionQuestion) -> None:
        least = self._model.calibration.motion_confidence
        assert least is not None
        try:
            answer = self._model.motion(piece.question, piece.frames, self._pipeline.epoch).result()
        except SpatialError as error:
            if error.code != ErrorCode.CANCELED:
                self._log.warning(f"no answer about motion: {error}", throttle_duration_sec=10.0)
            return
        reward = self._pipeline.add_motion(piece, answer, least)
        if reward is not None and not self._stopping:
            self._publish(reward)
