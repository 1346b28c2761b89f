"""The node as a process of its own, and a robot in this process that talks to it over DDS, on loopback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import rclpy
import yaml
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

SECONDS = 30.0  # until a test fails, on however loaded a machine; nothing waits for it to pass
DOMAIN = os.getpid() % 90 + 11
RELIABLE = QoSProfile(depth=200)
SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
FAST = {"motion.max_speed": 5000.0}  # cameras of tests are moved faster than any real one
EXECUTABLE = Path(sys.executable).with_name("spatial_mllm_node")

changed = Condition()  # notified whenever a message, an answer or a line of log has come


def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The condition's value once it is true; fails, saying what was waited for, when the time is over."""
    with changed:
        value = changed.wait_for(condition, seconds)
    assert value, f"{what}: not within {seconds:g} s"
    return value


class NodeProcess:
    """The installed executable with these parameters (dotted names), or the same with another engine for its model."""

    def __init__(self, folder: Path, parameters: dict[str, Any], *arguments: str, engine: str = ""):
        file = folder / "parameters.yaml"
        parameters = {"ask.model": "none"} | FAST | parameters  # what ships would take the processor from other tests
        file.write_text(yaml.safe_dump({"/**/spatial_mllm": {"ros__parameters": parameters}}))
        start = [sys.executable, "-m", "tests.node.with_engine", engine] if engine else [str(EXECUTABLE)]
        command = [*start, "--ros-args", "--params-file", str(file), *arguments]
        environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        environment |= {"ROS_LOG_DIR": str(folder), "PYTHONWARNINGS": "error::ResourceWarning"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with changed:
                self.lines.append(line)
                changed.notify_all()
        self.process.wait()
        with changed:
            changed.notify_all()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def says(self, *words: str, after: int = 0, seconds: float = SECONDS) -> str:
        """The first line of the log, from a number of lines on, that holds all these words."""

        def found() -> str:
            return next((line for line in self.lines[after:] if all(word in line for word in words)), "")

        with changed:
            line = changed.wait_for(lambda: found() or self.process.poll() is not None, seconds) and found()
        assert line, f"no line with {words} within {seconds:g} s; the log is:\n{self.log}"
        return line

    def signal(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def end(self) -> None:
        """By a signal: of one that is killed others believe for seconds that it listens, and send to it."""
        if self.process.poll() is None:
            try:
                self.signal()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.wait()


class Robot:
    """A node of this process that publishes, listens and calls; callbacks run in a thread of its own."""

    def __init__(self, name: str = "robot"):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, context=self.context)
        self.heard: dict[str, list[Any]] = {}
        self._clients: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(SECONDS)
        self.node.destroy_node()
        self.context.try_shutdown()

    def listen(self, type_: type, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Subscribe anew; the list that messages are appended to."""
        messages = self.heard[topic] = []

        def heard(msg: Any) -> None:
            with changed:
                messages.append(msg)
                changed.notify_all()

        if topic in self._subscriptions:
            self.node.destroy_subscription(self._subscriptions[topic])
        self._subscriptions[topic] = self.node.create_subscription(type_, topic, heard, qos)
        return messages

    def publisher(self, type_: type, topic: str, qos: QoSProfile = SENSOR, wait: bool = True) -> Any:
        """A publisher that the node has already discovered."""
        publisher = self.node.create_publisher(type_, topic, qos)
        if wait:
            polled(lambda: publisher.get_subscription_count(), f"a subscription of {topic}")
        return publisher

    def client(self, type_: type, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(type_, name)
        assert self._clients[name].wait_for_service(SECONDS), f"no service {name}"
        return self._clients[name]

    def call(self, type_: type, name: str, **fields: Any) -> Any:
        """The answer of a service."""
        return finished(self.client(type_, name).call_async(type_.Request(**fields)), name)

    def transition(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        client = self.client(ChangeState, "/spatial_mllm/change_state")
        return finished(client.call_async(request), label).success

    def state(self) -> str:
        return self.call(GetState, "/spatial_mllm/get_state").current_state.label


def finished(future: Any, what: str) -> Any:
    """The result of a future."""

    def notify(_: Any) -> None:
        with changed:
            changed.notify_all()

    future.add_done_callback(notify)
    until(future.done, f"answer of {what}")
    return future.result()


def polled(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Like ``until``, for what nobody is notified of: the graph of nodes and topics."""
    remaining = seconds
    while not (value := condition()):
        assert remaining > 0, f"{what}: not within {seconds:g} s"
        with changed:
            changed.wait(0.05)
        remaining -= 0.05
    return value
