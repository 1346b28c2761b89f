"""Services of a player, with the names and types of those of rosbag2's: ``~/pause`` and so on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep
from traceback import format_exc
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rosbag2_interfaces import srv

from .controls import Controls

ENDING = 2.0  # s that the thread may take to end
ARRIVES = 0.2  # s that an answer may take to whoever asked


class Services:
    """Answers requests by :class:`Controls`. Those that wait for a message have a group of their own.

    Attributes:
        asked: when the latest request came, ``time.monotonic()`` seconds.
    """

    def __init__(self, node: Node, controls: Controls):
        self._controls = controls
        self.asked = 0.0
        at_once, waiting = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        for kind, answer, group in (
            (srv.Pause, self.pause, at_once),
            (srv.Resume, self.resume, at_once),
            (srv.TogglePaused, self.toggle_paused, at_once),
            (srv.IsPaused, self.is_paused, at_once),
            (srv.GetRate, self.get_rate, at_once),
            (srv.SetRate, self.set_rate, at_once),
            (srv.Seek, self.seek, at_once),
            (srv.Stop, self.stop, at_once),
            (srv.PlayNext, self.play_next, waiting),
            (srv.Burst, self.burst, waiting),
        ):
            node.create_service(kind, f"~/{answer.__name__}", self._noting(answer), callback_group=group)

    def _noting(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def note_and_answer(request: Any, response: Any) -> Any:
            self.asked = monotonic()
            return answer(request, response)

        return note_and_answer

    def pause(self, request: Any, response: Any) -> Any:
        self._controls.pause()
        return response

    def resume(self, request: Any, response: Any) -> Any:
        self._controls.resume()
        return response

    def toggle_paused(self, request: Any, response: Any) -> Any:
        self._controls.toggle_paused()
        return response

    def is_paused(self, request: Any, response: Any) -> Any:
        response.paused = self._controls.paused
        return response

    def get_rate(self, request: Any, response: Any) -> Any:
        response.rate = self._controls.rate
        return response

    def set_rate(self, request: Any, response: Any) -> Any:
        response.success = self._controls.set_rate(request.rate)
        return response

    def seek(self, request: Any, response: Any) -> Any:
        response.success = self._controls.seek(request.time.sec * 10**9 + request.time.nanosec)
        return response

    def stop(self, request: Any, response: Any) -> Any:
        self._controls.stop()
        return response

    def play_next(self, request: Any, response: Any) -> Any:
        response.success = self._controls.play_next()
        return response

    def burst(self, request: Any, response: Any) -> Any:
        response.actually_burst = self._controls.burst(request.num_messages)
        return response


@contextmanager
def served(node: Node, controls: Controls) -> Iterator[None]:
    """The services, answered by threads of their own so that playing does not wait for them."""
    services = Services(node, controls)
    executor = MultiThreadedExecutor(2, context=node.context)
    executor.add_node(node)
    ending = False

    def answer() -> None:
        while not ending and node.context.ok():
            try:
                executor.spin()
            except Exception:
                if not ending:
                    node.get_logger().error(f"a request to the player failed:\n{format_exc()}")

    thread = Thread(target=answer, name="services", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sleep(max(services.asked + ARRIVES - monotonic(), 0.0))  # the answer to stop is on its way
        ending = True
        executor.shutdown(ENDING)
        thread.join(ENDING)
