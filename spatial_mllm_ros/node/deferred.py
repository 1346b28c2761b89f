"""A service and an action whose answers come later: a request that waits keeps no thread of the executor.

rclpy's own way, coroutines, resumes every waiting request at every wake-up of the executor, and may miss the wake-up
that ends the wait. Here an answer is sent by whoever has it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition
from time import monotonic
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.node import Node
from rclpy.service import Service

TRANSITION = 1.0  # s that a goal may take to learn that its client wants it canceled
Finish = Callable[[ServerGoalHandle, Any], None]


def create_service(node: Node, type_: Any, name: str, begin: Callable[[Any], Future], **options: Any) -> Service:
    """A service whose response is the result of a future.

    Args:
        begin: ``begin(request)`` returns the Future of the response; it neither waits nor raises.
    """
    service = node.create_service(type_, name, lambda request, _: begin(request), **options)
    send = service.send_response

    def send_when_done(response: Future, header: Any) -> None:
        def done(response: Future) -> None:
            with suppress(Exception):  # the client is gone, or the service
                send(response.result(), header)

        response.add_done_callback(done)

    service.send_response = send_when_done  # type: ignore[method-assign]
    return service


class DeferredActionServer(ActionServer):
    """An action server whose goals are executing until a future has their result.

    Args:
        begin: ``begin(goal)`` starts the work and returns the Future of the result; it neither waits nor raises.
        cancel: ``cancel(goal)`` asks for an early end.
        finish: ``finish(goal, result)`` sets the goal's final state.
    """

    def __init__(
        self,
        node: Node,
        type_: Any,
        name: str,
        begin: Callable[[ServerGoalHandle], Future],
        cancel: Callable[[ServerGoalHandle], None],
        finish: Finish,
        **options: Any,
    ):
        self._begin, self._cancel, self._finish = begin, cancel, finish
        self._changed = Condition()
        self._open: dict[bytes, bool] = {}  # goals in work, and whether their clients want them canceled
        super().__init__(node, type_, name, lambda _: None, cancel_callback=self._on_cancel, **options)

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Called by rclpy once a goal is accepted and its state is EXECUTING."""
        key = bytes(goal_handle.goal_id.uuid)
        with self._changed:
            self._open.setdefault(key, False)
        execute = super().notify_execute

        def done(result: Future) -> None:
            with suppress(Exception):  # there is no executor any more
                execute(goal_handle, lambda goal: self._end(goal, result.result()))

        result = self._begin(goal_handle)
        if self._open[key]:  # canceled before there was anything to cancel
            self._cancel(goal_handle)
        result.add_done_callback(done)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        with self._changed:
            if goal.is_active:
                self._open[bytes(goal.goal_id.uuid)] = True
        self._cancel(goal)
        return CancelResponse.ACCEPT

    def _end(self, goal: ServerGoalHandle, result: Any) -> Any:
        key, deadline = bytes(goal.goal_id.uuid), monotonic() + TRANSITION
        with self._changed:  # rclpy sets the state only after the callback that has led here
            while self._open[key] and not goal.is_cancel_requested and monotonic() < deadline:
                self._changed.wait(0.001)
        self._finish(goal, result)
        return result

    async def _execute_goal(self, execute_callback: Any, goal_handle: ServerGoalHandle) -> None:
        """rclpy's, which ends with the result on its way to the client: only then is the goal no longer in work."""
        try:
            await super()._execute_goal(execute_callback, goal_handle)
        finally:
            with self._changed:
                del self._open[bytes(goal_handle.goal_id.uuid)]
                self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until no goal is in work, its result sent where the client asked for it, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, seconds)
