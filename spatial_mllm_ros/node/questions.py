"""~/ask and ~/ask_with_progress: a question is checked, gets its frames, waits for the model, and is answered."""

from collections.abc import Callable
from concurrent.futures import Future
from traceback import format_exc
from typing import Any

from geometry_msgs.msg import Vector3
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.srv import AskSpatial

from ..errors import ErrorCode, SpatialError
from ..frames import Frame
from ..mllm.process.remote import ModelProcess, Ticket
from ..mllm.question import Answer, AnswerType, Question, Verdict
from ..pipeline import SpatialPipeline
from .convert import header
from .deferred import DeferredActionServer, create_service
from .requests import WAITING, check_question, fail, time_ns
from .scene import Scene

RESULT_KEPT = 60  # s, that an action's result waits for its client
LAST_ANSWERS = 1.0  # s that clients of goals have to learn of the end


class Questions:
    """The service and the action that ask the model; a question that waits keeps no thread.

    Args:
        node: where they are made.
        pipeline: whose memory is asked about.
        model: answers; it belongs to the caller.
        group: callback group of both.
    """

    def __init__(self, node: LifecycleNode, pipeline: SpatialPipeline, model: ModelProcess, group: CallbackGroup):
        self.scene = Scene(pipeline, model)
        self._node, self._model, self._cameras = node, model, pipeline.config.cameras
        self._tickets: dict[bytes, Ticket] = {}
        self._service = create_service(
            node, AskSpatial, "~/ask", self._serve, qos_profile=WAITING, callback_group=group
        )
        self._action = DeferredActionServer(
            node,
            AskAction,
            "~/ask_with_progress",
            self._execute,
            self._cancel,
            finish,
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
        """Wait until the clients of goals know the outcome, for a second at most."""
        self._action.drain(LAST_ANSWERS)

    def _serve(self, request: Any) -> Future:
        return self._ask(request, AskSpatial.Response())[0]

    def _execute(self, goal: ServerGoalHandle) -> Future:
        def tell(stage: str, text: str) -> None:
            goal.publish_feedback(AskAction.Feedback(stage=stage, partial_answer=text))

        tell("waiting", "")
        answered, ticket = self._ask(goal.request, AskAction.Result(), tell)
        key = bytes(goal.goal_id.uuid)
        if ticket is not None:
            self._tickets[key] = ticket
            answered.add_done_callback(lambda _: self._tickets.pop(key, None))
        return answered

    def _cancel(self, goal: ServerGoalHandle) -> None:
        ticket = self._tickets.get(bytes(goal.goal_id.uuid))
        if ticket is not None:
            ticket.cancel()

    def _ask(
        self, request: Any, response: Any, tell: Callable[[str, str], None] | None = None
    ) -> tuple[Future, Ticket | None]:
        """The future of the filled response, and the question's ticket if there is one."""
        answered: Future = Future()
        try:
            question = check_question(request, self._cameras)
            self._model.check()
            start, end = time_ns("start", request.start), time_ns("end", request.end)
            frames, epoch = self.scene.frames(start, end, request.cameras, request.max_frames)
            ticket = self._model.ask(question, frames, request.timeout, tell, epoch)
        except Exception as error:
            answered.set_result(self._failed(response, error))
            return answered, None

        def done(ticket: Ticket) -> None:
            try:
                fill(response, ticket.result(), question, ticket.frames)
            except Exception as error:
                self._failed(response, error)
            answered.set_result(response)

        ticket.add_done_callback(done)
        return answered, ticket

    def _failed(self, response: Any, error: Exception) -> Any:
        if isinstance(error, SpatialError):
            return fail(response, error.code, error.message)
        self._node.get_logger().error(f"a question failed:\n{format_exc()}")
        return fail(response, ErrorCode.FAILED, "internal error; the node's log has the details")


def finish(goal: ServerGoalHandle, result: Any) -> None:
    """Set the goal's final state, as the result says."""
    if result.error_code == ErrorCode.CANCELED and goal.is_cancel_requested:
        goal.canceled()
    elif result.error_code:
        goal.abort()
    else:
        goal.succeed()


def fill(response: Any, answer: Answer, question: Question, frames: Any) -> None:
    """An answer about these frames as AskSpatial, of the service or the action, says it."""
    seen: list[Frame] = [frames[i] for i in answer.frames]
    response.error_code, response.error_msg = int(ErrorCode.NONE), answer.note
    response.verdict, response.answer, response.reasoning = int(answer.verdict), answer.text, answer.reasoning
    response.value, response.unit, response.choice = float(answer.value), answer.unit, answer.choice
    x, y, z = answer.vector
    if question.answer_type == AnswerType.PIXEL and answer.verdict == Verdict.ANSWERED and seen:
        x, y = x * seen[0].camera.width - 0.5, y * seen[0].camera.height - 0.5  # the centre of the first pixel is at 0
    response.vector = Vector3(x=float(x), y=float(y), z=float(z))
    response.confidence = float(answer.confidence)
    response.evidence = [header(frame.stamp_ns, frame.camera.frame_id) for frame in seen]
    response.seconds_encode, response.seconds_generate = answer.seconds_encode, answer.seconds_generate
