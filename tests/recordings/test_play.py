"""Recordings played by another process over DDS, on loopback in a domain of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import monotonic, time_ns

import pytest

from spatial_mllm_ros.recordings import BagError, Recording

from .recordings import START, STEP, rgbd, write

rclpy = pytest.importorskip("rclpy", reason="playing needs ROS 2")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from spatial_mllm_ros.recordings.play import PlayOptions, play  # noqa: E402

pytestmark = pytest.mark.live

COLOR, TF, STATIC = "/camera/color/image_raw", "/tf", "/tf_static"
RELIABLE = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CHILD = "from spatial_mllm_ros.recordings.play import *; import sys; print(play(sys.argv[1], eval(sys.argv[2])))"


class Listener:
    """A node that keeps what it hears: (topic, monotonic seconds, message or bytes)."""

    def __init__(self, node):
        self.node, self.heard = node, []
        self.executor = SingleThreadedExecutor(context=node.context)
        self.executor.add_node(node)

    def listen(self, kind, topic, qos=RELIABLE, raw=False):
        def keep(message):
            self.heard.append((topic, monotonic(), message))

        self.node.create_subscription(kind, topic, keep, qos, raw=raw)

    def until(self, done, seconds=15.0):
        deadline = monotonic() + seconds
        while not done() and monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.05)
        assert done(), f"heard only {len(self.heard)} messages in {seconds} s"

    def of(self, topic):
        return [message for name, _, message in self.heard if name == topic]


@pytest.fixture
def ros(monkeypatch):
    domain = str(1 + os.getpid() % 100)
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(domain))
    listener = Listener(rclpy.create_node("listener", context=context))
    yield listener
    listener.executor.shutdown()
    listener.node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def player():
    """Starts a child that plays; ends it when the test does."""
    children = []

    def start(recording, options):
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, str(recording), options],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("kind", ["mcap", "ros1"])
def test_every_message_arrives_as_recorded_and_in_time(tmp_path, ros, player, kind):
    recording = write(tmp_path, rgbd(30), kind)
    ros.listen(Image, COLOR, raw=True)
    ros.listen(TFMessage, TF, raw=True)
    child = player(recording, f"PlayOptions(rate=0.5, wait=20, wait_for=['{COLOR}', '{TF}'])")
    ros.until(lambda: len(ros.heard) == 60)
    ros.listen(TFMessage, STATIC, LATCHED)
    ros.until(lambda: ros.of(STATIC) or child.poll() is not None)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    assert out.startswith("PlayReport(messages=121, ")
    with Recording(recording) as recorded:
        for topic in (COLOR, TF):
            assert ros.of(topic) == [data for _, _, data in recorded.messages([topic])]
    times = [t for topic, t, _ in ros.heard if topic == COLOR]
    half = median(later - sooner for sooner, later in zip(times, times[15:]))  # a late message changes few of them
    assert half == pytest.approx(15 * STEP / 1e9 / 0.5, rel=0.1)


def test_late_subscriber_gets_static_transforms_and_ctrl_c_ends_a_loop(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(10), "mcap")
    ros.listen(Image, COLOR)
    child = player(recording, "PlayOptions(loop=True, rate=2.0)")
    ros.until(lambda: len(ros.of(COLOR)) > 25)
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in ros.of(COLOR)]
    assert min(stamps) == START and max(stamps) == START + 9 * STEP
    ros.listen(TFMessage, STATIC, LATCHED)
    ros.until(lambda: ros.of(STATIC))
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    assert "Traceback" not in err


def test_restamped_to_now_with_time_between_kept(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(15), "mcap")
    ros.listen(Image, COLOR)
    ros.listen(TFMessage, TF)
    before = time_ns()
    player(recording, f"PlayOptions(restamp=True, wait=20, wait_for=['{COLOR}', '{TF}'])")
    ros.until(lambda: len(ros.heard) == 30)
    images = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in ros.of(COLOR)]
    poses = [t.header.stamp.sec * 10**9 + t.header.stamp.nanosec for m in ros.of(TF) for t in m.transforms]
    assert before < images[0] < time_ns()
    assert [ns - images[0] for ns in images] == [i * STEP for i in range(15)]
    assert poses == images


def test_clock_and_part(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(30), "mcap")
    ros.listen(Image, COLOR)
    ros.listen(Clock, "/clock")
    child = player(recording, f"PlayOptions(clock=True, start=0.2, duration=0.5, wait=20, wait_for=['{COLOR}'])")
    ros.until(lambda: child.poll() is not None and len(ros.of(COLOR)) == 15)
    images = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in ros.of(COLOR)]
    assert images == [START + i * STEP for i in range(7, 22)]
    clock = [m.clock.sec * 10**9 + m.clock.nanosec for m in ros.of("/clock")]
    assert clock == sorted(clock) and len(clock) > 30
    assert clock[0] == pytest.approx(START + 200_000_000, abs=60_000_000)
    assert clock[-1] == pytest.approx(START + 700_000_000, abs=60_000_000)


def test_nobody_listens(tmp_path, ros):
    with pytest.raises(BagError, match=r"nobody subscribed to /tf within 0.2 s"):
        play(write(tmp_path, rgbd(2), "mcap"), PlayOptions(wait=0.2, wait_for=[TF]))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (PlayOptions(rate=0), "expected a rate above 0"),
        (PlayOptions(rate=float("nan")), "expected a rate above 0"),
        (PlayOptions(start=-1), "the others not below 0"),
        (PlayOptions(duration=float("nan")), "the others not below 0"),
        (PlayOptions(topics=["/tff"]), "has no topic /tff; topics in r: /camera/color/camera_info"),
    ],
)
def test_impossible_options(tmp_path, options, text):
    with pytest.raises(BagError, match=text):
        play(write(tmp_path, rgbd(1), "mcap"), options)
