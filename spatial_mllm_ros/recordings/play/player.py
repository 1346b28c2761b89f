"""A player: each message when its moment comes, /clock in between."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, monotonic_ns, sleep

import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from ..errors import BagError
from ..recording import Recording
from ..topic import Topic
from .controls import Controls, Event
from .names import ros_arguments
from .options import PlayOptions, PlayReport
from .outputs import Outputs
from .schedule import Calendar

NAME = "rosbag2_player"  # services are then where those of ros2 bag play are
LATE = 10_000_000  # ns after its time from which a message counts as late
CLOCK_PERIOD = 10_000_000  # ns
SETTLE = 0.2  # s between our seeing another node and its seeing us


@contextmanager
def player_node(options: PlayOptions) -> Iterator[Node]:
    """A node in a context of its own, with the namespace and rules that were asked for.

    Raises:
        BagError: a namespace, rule or other argument that ROS does not take.
    """
    context = Context()
    arguments = ros_arguments(options.namespace, options.remap, options.ros_args)
    try:
        rclpy.init(args=arguments, context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = Node(NAME, context=context, enable_rosout=False, start_parameter_services=False)
    except RuntimeError as error:
        context.try_shutdown()
        raise BagError(f"ROS does not take {' '.join(arguments[1:])}: {error}") from None
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


class Player:
    """Plays one recording through a node; :class:`Controls` may steer it from elsewhere, ``report`` is kept up."""

    def __init__(self, node: Node, recording: Recording, options: PlayOptions, controls: Controls, report: PlayReport):
        self._report = report
        self._recording, self._options, self._controls = recording, options, controls
        self._outputs = Outputs(node, recording, options.topics)
        self._clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=1)) if options.clock else None
        self._calendar = Calendar()
        self._tick = 0  # when /clock is due, ns
        self._begin = recording.start_ns + int(options.start * 1e9)
        self._end = self._begin + int(options.duration * 1e9) if options.duration else recording.end_ns + 1
        self._header_lead = self._outputs.header_time(self._begin) - self._begin if options.restamp else 0
        controls.open(self._begin, self._end, options.rate, options.paused)

    def play(self, progress: Callable[[float], None]) -> None:
        """Play until the end, a stop, or KeyboardInterrupt; ``progress`` is told the recorded seconds played so far.

        Raises:
            BagError: nobody subscribed in time.
        """
        try:
            self._wait_for_subscribers()
            self._play_once(progress)
            while self._options.loop and self._report.messages and not self._controls.stopped:
                sleep(CLOCK_PERIOD / 1e9)  # a recording may be a single moment
                self._play_once(progress)
            self._outputs.flush()
        finally:
            self._controls.stop()
            self._report.shifts, self._report.shifted = self._controls.shifts, self._controls.shifted

    def _wait_for_subscribers(self) -> None:
        if not self._options.wait:
            return
        deadline = monotonic() + self._options.wait
        wanted, topics = set(self._options.wait_for), self._outputs.topics
        while not self._controls.stopped:
            unheard = self._outputs.unheard()
            if not wanted & unheard if wanted else len(unheard) < len(topics):
                sleep(SETTLE)
                return
            if monotonic() > deadline:
                whom = ", ".join(sorted(wanted & unheard)) or "any topic"
                raise BagError(f"nobody subscribed to {whom} within {self._options.wait:g} s")
            sleep(0.02)

    def _play_once(self, progress: Callable[[float], None]) -> None:
        start: int | None = self._begin
        while start is not None:
            start = self._play_from(start, progress)

    def _play_from(self, start: int, progress: Callable[[float], None]) -> int | None:
        """Play to the end, or to where playing is to go on elsewhere: that moment."""
        self._tick = 0
        self._controls.start(start)
        for topic, _, data in self._recording.messages(self._outputs.latched, stop_ns=start):
            self._publish(topic, data)
        messages = self._recording.messages(self._outputs.topics, start, self._end)
        upcoming = next(messages, None)
        self._controls.start(start)  # the way to the first message takes no recorded time
        moment = start
        while True:
            moment = max(moment, upcoming[1]) if upcoming else moment  # some recorders write a little out of order
            if self._wait(moment if upcoming else None) is Event.LEAVE or not upcoming:
                return self._controls.take_target()
            self._note_delay(monotonic_ns() - self._controls.due(moment))
            self._publish(upcoming[0], upcoming[2])
            progress((moment - self._begin) / 1e9)
            upcoming = next(messages, None)

    def _wait(self, moment: int | None) -> Event:
        """Wait for that moment, or for a request; /clock goes on meanwhile."""
        while True:
            if self._clock and (now := monotonic_ns()) >= self._tick:
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(self._controls.now(), 10**9)
                self._clock.publish(message)
                self._tick = now + CLOCK_PERIOD
            event = self._controls.wait(moment, self._tick if self._clock else None)
            if event is not Event.WAKE:
                return event

    def _note_delay(self, delay: int) -> None:
        self._report.late += delay > LATE
        self._report.worst = max(self._report.worst, delay / 1e9)

    def _publish(self, topic: Topic, data: bytes) -> None:
        def now(stamp: int) -> int:
            return self._calendar.when(self._controls.due(stamp - self._header_lead))

        self._calendar.look()
        self._outputs.publish(topic, data, now if self._options.restamp else None)
        self._report.messages += 1
