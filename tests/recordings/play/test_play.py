"""Recordings played by another process over DDS, on loopback in a domain of their own."""

import signal
import sys
from itertools import pairwise
from statistics import median
from time import monotonic, time_ns

import pytest

from spatial_mllm_ros.recordings import BagError, BagWarning, Recording
from spatial_mllm_ros.recordings.play import PlayOptions, PlayReport, play

from ..recordings import START, STEP, rgbd, write

rclpy = pytest.importorskip("rclpy", reason="playing needs ROS 2")

from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from .listener import COLOR, DEPTH, INFO, LATCHED, STATIC, TF  # noqa: E402

pytestmark = pytest.mark.live


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
    stamps = ros.stamps(COLOR)
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
    images = ros.stamps(COLOR)
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
    images = ros.stamps(COLOR)
    assert images == [START + i * STEP for i in range(7, 22)]
    clock = ros.clock()
    assert clock == sorted(clock) and len(clock) > 30
    assert clock[0] == pytest.approx(START + 200_000_000, abs=60_000_000)
    assert clock[-1] == pytest.approx(START + 700_000_000, abs=60_000_000)


def test_after_a_stop_of_the_process_it_goes_on_and_does_not_rush(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(90), "mcap")
    ros.listen(Image, COLOR)
    ros.listen(Clock, "/clock")
    child = player(recording, f"PlayOptions(topics=['{COLOR}'], clock=True, wait=20, wait_for=['{COLOR}'])")
    ros.until(lambda: len(ros.of(COLOR)) >= 10)
    child.send_signal(signal.SIGSTOP)
    woken = monotonic() + 2
    ros.until(lambda: monotonic() > woken)
    child.send_signal(signal.SIGCONT)
    ros.until(lambda: len(ros.of(COLOR)) == 90)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    report = eval(out, {"PlayReport": PlayReport})
    assert report.shifts >= 1 and report.shifted > 1.4
    assert report.worst <= 0.5
    clock = ros.clock()
    assert clock == sorted(clock)
    assert max(later - sooner for sooner, later in pairwise(clock)) < 10**9


def test_topics_go_below_the_namespace_or_where_they_are_told_to(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(5), "mcap")
    heard = {"/robot1/camera/color/image_raw": Image, "/robot1/depth": Image, "/info": CameraInfo, TF: TFMessage}
    for topic, kind in heard.items():
        ros.listen(kind, topic)
    rules = [f"{DEPTH}:=depth", f"{INFO}:=/info"]
    child = player(
        recording, f"PlayOptions(namespace='robot1', remap={rules}, wait=20, wait_for={[COLOR, DEPTH, INFO, TF]})"
    )
    ros.until(lambda: len(ros.heard) == 20)
    assert [len(ros.of(topic)) for topic in heard] == [5, 5, 5, 5]
    _, err = child.communicate(timeout=20)
    assert child.returncode == 0, err


def test_arguments_of_ros_are_taken(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(5), "mcap")
    ros.listen(Image, "/robot2/camera/color/image_raw")
    ros.listen(TFMessage, "/robot2/tf")
    arguments = ["-r", "__ns:=/robot2", "-r", "/tf:=tf", "-r", "__node:=second"]
    child = player(recording, f"PlayOptions(ros_args={arguments}, paused=True, loop=True)")
    ros.until(lambda: ("second", "/robot2") in ros.node.get_node_names_and_namespaces())
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    player(recording, f"PlayOptions(ros_args={arguments}, wait=20, wait_for={[COLOR, TF]})")
    ros.until(lambda: len(ros.heard) == 10)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (PlayOptions(namespace="a b"), r"ROS does not take -r __ns:=/a b"),
        (PlayOptions(remap=["/tf:=a b"]), r"ROS does not take .*tf:=a b"),
        (PlayOptions(ros_args=["--nonsense"]), r"ROS does not take --nonsense"),
    ],
)
def test_what_ros_does_not_take(tmp_path, ros, options, text):
    with pytest.raises(BagError, match=text):
        play(write(tmp_path, rgbd(2), "mcap"), options)


def test_without_its_interfaces_it_plays_without_services(tmp_path, ros, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbag2_interfaces", None)
    monkeypatch.delitem(sys.modules, "spatial_mllm_ros.recordings.play.services", raising=False)
    with pytest.warns(BagWarning, match=r"no services: the package rosbag2_interfaces is not installed"):
        assert play(write(tmp_path, rgbd(2), "mcap")).messages == 9


def test_nobody_listens(tmp_path, ros):
    with pytest.raises(BagError, match=r"nobody subscribed to /tf within 0.2 s"):
        play(write(tmp_path, rgbd(2), "mcap"), PlayOptions(wait=0.2, wait_for=[TF]))
