"""The services, called as ``ros2 service call`` does, of a player in another process."""

from time import time_ns

import pytest

from ..recordings import START, STEP, rgbd, write

pytest.importorskip("rclpy", reason="playing needs ROS 2")
pytest.importorskip("rosbag2_interfaces", reason="the services need rosbag2_interfaces")

from builtin_interfaces.msg import Time
from rosbag2_interfaces import srv
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from .listener import COLOR

pytestmark = pytest.mark.live
PLAYER = "/rosbag2_player"


def time(ns):
    return Time(sec=ns // 10**9, nanosec=ns % 10**9)


@pytest.fixture
def paused(tmp_path, ros, player):
    """A player that stands at the beginning of 60 images, and is heard."""
    recording = write(tmp_path, rgbd(60), "mcap")
    ros.listen(Image, COLOR)
    ros.listen(Clock, "/clock")
    options = f"paused=True, clock=True, topics=['{COLOR}'], wait=20, wait_for=['{COLOR}']"
    child = player(recording, f"PlayOptions({options})")
    ros.until(lambda: ros.clock())
    return child


def test_steps_seeks_and_rates(paused, ros):
    assert ros.call(srv.IsPaused, f"{PLAYER}/is_paused").paused
    assert ros.call(srv.GetRate, f"{PLAYER}/get_rate").rate == 1.0
    assert ros.call(srv.PlayNext, f"{PLAYER}/play_next").success
    ros.until(lambda: ros.stamps(COLOR) == [START])
    assert ros.call(srv.Burst, f"{PLAYER}/burst", num_messages=3).actually_burst == 3
    ros.until(lambda: ros.stamps(COLOR) == [START + i * STEP for i in range(4)])

    ros.until(lambda: ros.clock()[-1] == START + 3 * STEP)
    told = len(ros.clock())
    ros.until(lambda: len(ros.clock()) > told + 20)
    assert set(ros.clock()[told:]) == {START + 3 * STEP}  # told all the time, and always the same

    assert ros.call(srv.Seek, f"{PLAYER}/seek", time=time(START + 30 * STEP)).success
    assert not ros.call(srv.Seek, f"{PLAYER}/seek", time=time(START - 1)).success
    assert not ros.call(srv.Seek, f"{PLAYER}/seek", time=time(START + 60 * STEP)).success
    assert ros.call(srv.PlayNext, f"{PLAYER}/play_next").success
    ros.until(lambda: ros.stamps(COLOR)[-1] == START + 30 * STEP)

    assert not ros.call(srv.SetRate, f"{PLAYER}/set_rate", rate=0.0).success
    assert ros.call(srv.SetRate, f"{PLAYER}/set_rate", rate=0.5).success
    assert ros.call(srv.GetRate, f"{PLAYER}/get_rate").rate == 0.5
    ros.call(srv.TogglePaused, f"{PLAYER}/toggle_paused")
    assert not ros.call(srv.PlayNext, f"{PLAYER}/play_next").success  # not while it plays
    ros.call(srv.Pause, f"{PLAYER}/pause")
    assert ros.call(srv.IsPaused, f"{PLAYER}/is_paused").paused
    ros.call(srv.Resume, f"{PLAYER}/resume")
    ros.until(lambda: len(ros.of(COLOR)) == 34)
    assert ros.stamps(COLOR)[4:] == [START + i * STEP for i in range(30, 60)]
    _, err = paused.communicate(timeout=20)
    assert paused.returncode == 0, err


def test_a_burst_of_everything_ends_at_the_end_and_a_stop_is_answered(paused, ros):
    assert ros.call(srv.Burst, f"{PLAYER}/burst", num_messages=0).actually_burst == 60
    assert not ros.call(srv.PlayNext, f"{PLAYER}/play_next").success
    assert ros.call(srv.Seek, f"{PLAYER}/seek", time=time(START)).success  # it waits at the end, and goes back
    assert ros.call(srv.PlayNext, f"{PLAYER}/play_next").success
    assert ros.call(srv.Stop, f"{PLAYER}/stop") is not None
    out, err = paused.communicate(timeout=20)
    assert paused.returncode == 0, err
    assert out.startswith("PlayReport(messages=61, ")


def test_in_a_namespace_a_step_is_stamped_with_the_time_it_is_made(tmp_path, ros, player):
    recording = write(tmp_path, rgbd(10), "mcap")
    ros.listen(Image, f"/robot1{COLOR}")
    options = f"paused=True, restamp=True, topics=['{COLOR}'], wait=20, wait_for=['{COLOR}'], namespace='/robot1'"
    player(recording, f"PlayOptions({options})")
    for _ in range(2):
        before = time_ns()
        assert ros.call(srv.PlayNext, f"/robot1{PLAYER}/play_next").success
        after = time_ns()
        ros.until(lambda: ros.of(f"/robot1{COLOR}"))
        (stamp,) = ros.stamps(f"/robot1{COLOR}")
        assert before < stamp < after
        ros.heard.clear()
