"""~/ask and ~/ask_with_progress: a question is checked, gets its frames, waits for the model, and is answered."""

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from threading import Condition, Event
from time import monotonic
from typing import Any

from geometry_msgs.msg import Vector3
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.srv import AskSpatial

from ..errors import ErrorCode
from ..frames import Frame
from ..mllm.process.remote import ModelProcess
from ..mllm.question import Answer, AnswerType, Question, Verdict
from ..scene.pipeline import SpatialPipeline
from .convert import header
from .question_frames import QuestionFrames
from .requests import WAITING, answered, check_question, time_ns

RESULT_KEPT = 60  # s, that an action's result waits for its client
LAST_ANSWERS = 1.0  # s that clients have to learn of the end
LOOK = 0.05  # s between looks whether a client wants its goal canceled
TURNS = 3  # of the executor, within which it sends what callbacks have returned; the result of a goal takes it two


class Questions:
    """The service and the action that ask the model; each question waits in a thread of the executor.

    rclpy's other way, coroutines, resumes every question that waits whenever anything happens, and may miss the end of
    one. ``ask.waiting`` bounds how many wait, and main.py makes the executor that large.

    Args:
        node: where they are made.
        pipeline: whose memory is asked about.
        model: answers; it belongs to the caller.
        pointed: called with frame and pixel of an answer that is one.
        group: callback group of both.
    """

    def __init__(
        self,
        node: LifecycleNode,
        pipeline: SpatialPipeline,
        model: ModelProcess,
        pointed: Callable[[Frame, tuple[float, float]], None],
        group: CallbackGroup,
    ):
        self._pointed = pointed
        self.frames = QuestionFrames(pipeline, model)
        self._node, self._model, self._cameras = node, model, pipeline.config.cameras
        self._changed = Condition()
        self._in_work = 0
        self._all_sent = True
        self._service = node.create_service(AskSpatial, "~/ask", self._serve, qos_profile=WAITING, callback_group=group)
        self._action = ActionServer(
            node,
            AskAction,
            "~/ask_with_progress",
            self._execute,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
            goal_service_qos_profile=WAITING,
            result_service_qos_profile=WAITING,
            cancel_service_qos_profile=WAITING,
            result_timeout=RESULT_KEPT,
        )

    def close(self) -> None:
        """After the model was closed: its last outcomes reach their clients, then both are gone."""
        self.drain()
        self._action.destroy()
        self._node.destroy_service(self._service)

    def drain(self) -> None:
        """Wait until the clients know the outcome, for a second at most."""
        deadline = monotonic() + LAST_ANSWERS
        with self._changed:
            self._changed.wait_for(lambda: not self._in_work, LAST_ANSWERS)
            all_sent, self._all_sent = self._all_sent, True
        executor = self._node.executor
        if all_sent or executor is None:
            return
        with suppress(Exception):  # the executor has ended
            for _ in range(TURNS):
                turn = Event()
                executor.create_task(turn.set)
                turn.wait(deadline - monotonic())

    def _serve(self, request: Any, response: Any) -> Any:
        with self._working():
            return self._answer(request, response)

    def _execute(self, goal: ServerGoalHandle) -> Any:
        with self._working():
            result = self._answer(goal.request, AskAction.Result(), goal)
            if result.error_code == ErrorCode.CANCELED and goal.is_cancel_requested:
                goal.canceled()
            elif result.error_code:
                goal.abort()
            else:
                goal.succeed()
            return result

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._changed:
            self._in_work, self._all_sent = self._in_work + 1, False
        try:
            yield
        finally:
            with self._changed:
                self._in_work -= 1
                self._changed.notify_all()

    def _answer(self, request: Any, response: Any, goal: ServerGoalHandle | None = None) -> Any:
        """The response, filled; a goal is told of progress, and may be canceled by its client."""

        def tell(stage: str, text: str) -> None:
            if goal is not None:
                goal.publish_feedback(AskAction.Feedback(stage=stage, partial_answer=text))

        with answered(response, self._node, "question"):
            tell("waiting", "")
            question = check_question(request, self._cameras)
            self._model.check()
            start, end = time_ns("start", request.start), time_ns("end", request.end)
            frames, epoch = self.frames.choose(start, end, request.cameras, request.max_frames)
            ticket = self._model.ask(question, frames, request.timeout, tell, epoch)
            while goal is not None and not wait([ticket.future], LOOK).done:
                if goal.is_cancel_requested:
                    ticket.cancel()
            remark = self.frames.remark(len(frames), request.max_frames)
            answer = ticket.result().noted(remark)
            fill(response, answer, question, ticket.frames)
            if question.answer_type == AnswerType.PIXEL and answer.verdict == Verdict.ANSWERED and answer.frames:
                self._pointed(ticket.frames[answer.frames[0]], (response.vector.x, response.vector.y))
        return response


def fill(response: Any, answer: Answer, question: Question, frames: Any) -> None:
    """An answer about these frames as AskSpatial, of the service or the action, says it."""
    seen: list[Frame] = [frames[i] for i in answer.frames]
    if seen:
        answer = answer.in_pixels(question, seen[0].camera.width, seen[0].camera.height)
    response.error_code, response.error_msg = int(ErrorCode.NONE), answer.note
    response.verdict, response.answer, response.reasoning = int(answer.verdict), answer.text, answer.reasoning
    response.value, response.unit, response.choice = float(answer.value), answer.unit, answer.choice
    x, y, z = answer.vector
    response.vector = Vector3(x=float(x), y=float(y), z=float(z))
    response.confidence = float(answer.confidence)
    response.evidence = [header(frame.stamp_ns, frame.camera.frame_id) for frame in seen]
    response.seconds_encode, response.seconds_generate = answer.seconds_encode, answer.seconds_generate
