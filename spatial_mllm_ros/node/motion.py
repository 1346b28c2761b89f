"""The thread that asks the model how far targets have moved, where rewards are wanted from it."""

from collections.abc import Callable
from threading import Event, Thread
from traceback import format_exc
from typing import Any

from ..errors import ErrorCode, SpatialError
from ..mllm.process.remote import ModelProcess
from ..motion.asked import MotionQuestion
from ..motion.rewards import Reward
from ..pipeline import SpatialPipeline

RETRY = 1.0  # s between looks at a model that is not ready
NO_MODEL = "motion.source asks for rewards of a model, but there is none: set the parameter ask.model"
NOT_CALIBRATED = (
    "motion.source asks for rewards of a model that was not calibrated for them (motion_confidence in its"
    " calibration.json): it is not asked"
)


class MotionQuestions:
    """One question at a time about the newest frame; one that gives way to a person's question is not asked again.

    Args:
        pipeline: has the questions, none where ``motion.source`` is geometry.
        model: answers; it belongs to the caller.
        publish: called with each reward.
        log: the node's logger.
    """

    def __init__(self, pipeline: SpatialPipeline, model: ModelProcess, publish: Callable[[Reward], None], log: Any):
        self._pipeline, self._model, self._publish, self._log = pipeline, model, publish, log
        self._arrived = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="motion")
        if pipeline.config.motion.source == "geometry":
            return
        if model.model:
            self._thread.start()
        else:
            log.warning(NO_MODEL)

    def look(self) -> None:
        """A frame was processed: there may be a question."""
        self._arrived.set()

    def close(self) -> None:
        """After the model was closed."""
        self._stopping = True
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        ready = True
        while not self._stopping:
            self._arrived.wait(None if ready else RETRY)
            self._arrived.clear()
            try:
                ready = self._model.state.stage == "ready"
                if ready and self._model.calibration.motion_confidence is None:
                    self._log.warning(NOT_CALIBRATED)
                    return
                while ready and not self._stopping and (asked := self._pipeline.next_motion()):
                    self._ask(asked)
            except Exception:
                self._log.error(f"a question about motion failed:\n{format_exc()}", throttle_duration_sec=10.0)

    def _ask(self, asked: MotionQuestion) -> None:
        least = self._model.calibration.motion_confidence
        assert least is not None
        try:
            answer = self._model.motion(asked.question, asked.frames, self._pipeline.epoch).result()
        except SpatialError as error:
            if error.code != ErrorCode.CANCELED:
                self._log.warning(f"no answer about motion: {error}", throttle_duration_sec=10.0)
            return
        reward = self._pipeline.add_motion(asked, answer, least)
        if reward is not None and not self._stopping:
            self._publish(reward)
