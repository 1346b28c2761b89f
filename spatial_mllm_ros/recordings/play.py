"""Recordings played over DDS: as they are, at their own pace or another."""

import signal
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path
from threading import current_thread, main_thread
from time import monotonic, sleep, time_ns
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.interfaces import Qos, QosDurability, QosReliability
from rosgraph_msgs.msg import Clock

from .errors import BagError, BagWarning
from .recording import Recording, require
from .restamp import restamper
from .topic import Topic, offered_qos

LATE = 0.01  # s after its time from which a message counts as late
CLOCK_PERIOD = 0.01  # s
FLUSH = 1.0  # s at the end for subscribers that still miss messages
SETTLE = 0.2  # s between our seeing a subscriber and its seeing us
SAME_CLOCK_NS = 10_000_000_000  # headers farther than this from the time of their recording run on another clock


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate: recorded seconds a second.
        loop: begin anew at the end, until interrupted.
        start, duration: the part to play, seconds from the beginning; a duration of 0 plays to the end.
        topics: names; empty plays all whose types are installed.
        clock: publish /clock, for nodes with use_sim_time; stamps stay as they are.
        restamp: shift all header stamps (and those in TF) to now, for nodes without it.
        wait: seconds to wait for subscribers before starting; 0 does not wait.
        wait_for: topics that must have one; empty means any topic.
    """

    rate: float = 1.0
    loop: bool = False
    start: float = 0.0
    duration: float = 0.0
    topics: Collection[str] = ()
    clock: bool = False
    restamp: bool = False
    wait: float = 0.0
    wait_for: Collection[str] = ()


@dataclass
class PlayReport:
    """What was played: number of messages, those that came more than 10 ms late, the worst delay in seconds."""

    messages: int = 0
    late: int = 0
    worst: float = 0.0


def play(
    path: str | Path, options: PlayOptions | None = None, progress: Callable[[float], None] | None = None
) -> PlayReport:
    """Publish a recording. SIGINT (Ctrl-C) and SIGTERM end it cleanly where it runs in the main thread.

    Args:
        progress: called with the recorded seconds played so far.

    Raises:
        BagError: not a recording, a topic it does not have, options out of range, or nobody subscribed in time.
    """
    options = options or PlayOptions()
    if not (0 < options.rate < inf and 0 <= options.start < inf and 0 <= options.duration < inf):
        given = f"rate {options.rate}, start {options.start}, duration {options.duration}"
        raise BagError(f"{given}: expected a rate above 0, the others not below 0")
    context = Context()
    with Recording(path) as recording:
        for name in (*options.topics, *options.wait_for):
            require(recording, name)
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            with _interruptible():
                return _Player(recording, options, context).play(progress or (lambda seconds: None))
        finally:
            context.try_shutdown()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, also where a shell has made its background jobs deaf to SIGINT."""
    if current_thread() is not main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


class _Player:
    def __init__(self, recording: Recording, options: PlayOptions, context: Context):
        self.recording, self.options, self.report = recording, options, PlayReport()
        self.node = Node("bag_player", context=context, enable_rosout=False, start_parameter_services=False)
        self.publishers: dict[str, Publisher] = {}
        self.restampers: dict[str, Any] = {}
        self.latched: set[str] = set()
        self.next_tick = 0.0
        for name in options.topics or recording.topics:
            self._advertise(recording.topics[name])
        self.clock = self.node.create_publisher(Clock, "/clock", QoSProfile(depth=1)) if options.clock else None
        self.begin = recording.start_ns + int(options.start * 1e9)
        self.end = self.begin + int(options.duration * 1e9) if options.duration else recording.end_ns + 1
        self.header_begin = self._header_begin() if options.restamp else self.begin

    def play(self, progress: Callable[[float], None]) -> PlayReport:
        with suppress(KeyboardInterrupt):
            self._wait_for_subscribers()
            self._play_once(progress)
            while self.options.loop and self.report.messages:
                sleep(CLOCK_PERIOD)  # a recording may be a single moment
                self._play_once(progress)
            self._flush()
        self.node.destroy_node()
        return self.report

    def _advertise(self, topic: Topic) -> None:
        package, _, name = topic.type.split("/")
        try:
            kind = getattr(import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            text = f"{topic.name} is not played: the package {package} with {name} is not installed"
            warnings.warn(text, BagWarning, stacklevel=4)
            return
        qos = qos_profile(topic)
        self.publishers[topic.name] = self.node.create_publisher(kind, topic.name, qos)
        if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            self.latched.add(topic.name)
        self.restampers[topic.name] = restamper(topic.type, self.recording.types)

    def _wait_for_subscribers(self) -> None:
        if not self.options.wait:
            return
        deadline = monotonic() + self.options.wait
        wanted = self.options.wait_for
        while True:
            missing = [name for name, p in self.publishers.items() if not p.get_subscription_count()]
            if not set(wanted) & set(missing) if wanted else len(missing) < len(self.publishers):
                sleep(SETTLE)
                return
            if monotonic() > deadline:
                whom = ", ".join(sorted(set(wanted) & set(missing))) or "any topic"
                raise BagError(f"nobody subscribed to {whom} within {self.options.wait:g} s")
            sleep(0.02)

    def _play_once(self, progress: Callable[[float], None]) -> None:
        """Everything once; each message's time is counted from the beginning, so that delays do not add up."""
        wall, began, self.next_tick = time_ns(), monotonic(), 0.0
        for topic, _, data in self.recording.messages(self.latched, stop_ns=self.begin):
            self._publish(topic, data, wall)
        for topic, stamp, data in self.recording.messages(self.publishers, self.begin, self.end):
            due = began + (stamp - self.begin) / 1e9 / self.options.rate
            self._sleep_until(due, began)
            delay = monotonic() - due
            self.report.late += delay > LATE
            self.report.worst = max(self.report.worst, delay)
            self._publish(topic, data, wall)
            progress((stamp - self.begin) / 1e9)

    def _sleep_until(self, due: float, began: float) -> None:
        while True:
            now = monotonic()
            if self.clock and now >= self.next_tick:
                elapsed = max(now - began, 0.0) * self.options.rate
                stamp = self.begin + int(elapsed * 1e9)
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(stamp, 10**9)
                self.clock.publish(message)
                self.next_tick = now + CLOCK_PERIOD
            if now >= due:
                return
            sleep(min(due, self.next_tick) - now if self.clock else due - now)

    def _publish(self, topic: Topic, data: bytes, wall: int) -> None:
        restamp = self.restampers[topic.name] if self.options.restamp else None
        if restamp:
            data = restamp(data, lambda stamp: wall + int((stamp - self.header_begin) / self.options.rate))
        self.publishers[topic.name].publish(data)
        self.report.messages += 1

    def _header_begin(self) -> int:
        """What the clock of the headers shows at the beginning: the time of recording, unless it is another clock."""
        stamps: list[int] = []
        for topic, recorded, data in self.recording.messages(self.restampers.keys() - self.latched, self.begin):
            if restamp := self.restampers[topic.name]:
                restamp(data, lambda stamp: stamps.append(stamp) or stamp)
            if stamps:
                return self.begin if abs(stamps[0] - recorded) < SAME_CLOCK_NS else stamps[0]
        return self.begin

    def _flush(self) -> None:
        """Give reliable subscribers the time to fetch what they still miss."""
        deadline = monotonic() + FLUSH
        for publisher in self.publishers.values():
            if publisher.get_subscription_count():
                publisher.wait_for_all_acked(Duration(seconds=max(deadline - monotonic(), 0.0)))


def qos_profile(topic: Topic) -> QoSProfile:
    """What was offered when the topic was recorded, else a default by its name; latched ones keep every message."""
    offered: Qos = (topic.qos or offered_qos(topic.name))[0]
    latched = offered.durability == QosDurability.TRANSIENT_LOCAL
    best_effort = offered.reliability == QosReliability.BEST_EFFORT
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max(offered.depth, 100 if latched else 10),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
