"""What cannot be meant is refused before anything is written; what a recording lacks is said."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest

from spatial_mllm_ros.lerobot import dataset
from spatial_mllm_ros.lerobot.convert import write_dataset
from spatial_mllm_ros.lerobot.guess import guessed
from spatial_mllm_ros.lerobot.map import Cuts, DatasetMap, RewardOf, Text, Vector
from spatial_mllm_ros.lerobot.survey import Survey
from spatial_mllm_ros.recordings import BagError, BagWarning
from spatial_mllm_ros.recordings.recording import Recording

from ..recordings.recordings import T, image, time
from .arm import (
    COMMANDS,
    DEPTH,
    FRONT,
    GROWTH,
    JOINTS,
    MARK,
    MS,
    REWARDS,
    WRIST,
    at,
    flag,
    joint_state,
    messages,
    picture,
    reward,
    text,
    write,
)
from .test_data_set import BARE, HALVES, MAP, rows


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"state": (Vector("/joint_state"),)}, "no topic /joint_state, did you mean /joint_states?"),
        ({"action": (Vector(COMMANDS, "positions"),)}, "no positions, did you mean position?"),
        ({"state": (Vector(JOINTS, "name"),)}, "0 numbers"),
        ({"images": {"front": JOINTS}}, "no topic /joint_states of type sensor_msgs/msg/Image"),
        ({"depth": {"front": "/front/depth/image_rw"}}, f"did you mean {DEPTH}?"),
        ({"episodes": Cuts(start="/recordin")}, "no topic /recordin"),
        ({"episodes": Cuts(signal="/task")}, "neither a number nor true or false"),
        ({"task": Text(topic=JOINTS, field="position")}, "is no text"),
        ({"state": (), "action": (), "images": {}}, "nothing for a data set"),
        ({"episodes": Cuts(times=((50, 60),))}, "makes an episode"),
    ],
)
def test_maps_that_do_not_fit(tmp_path, wanted, said):
    bag = write(tmp_path / "arm.mcap", messages(0.5))
    with pytest.raises(BagError) as error:
        write_dataset([bag], tmp_path / "set", DatasetMap(**wanted))
    assert said in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["arm.mcap"]


def test_no_task(tmp_path):
    sent = [m for m in messages(0.5) if m[0] != "/task"]
    bag = write(tmp_path / "arm.mcap", sent)
    with pytest.raises(BagError, match="has no task; name it with --task"):
        write_dataset([bag], tmp_path / "set", MAP)
    write_dataset([bag], tmp_path / "set", DatasetMap(task=Text("lift"), images={}, reward=MAP.reward))
    assert "observation.images.front" not in rows(tmp_path / "set")


def test_a_field_that_changes_its_length(tmp_path):
    def array(*values):
        layout = T["std_msgs/msg/MultiArrayLayout"]([], 0)
        return T["std_msgs/msg/Float64MultiArray"](layout, np.array(values, float))

    sent = [*messages(0.5), *(("/command", at(t), array(*range(2 + (t > 0.2)))) for t in (0.1, 0.2, 0.3))]
    bag = write(tmp_path / "arm.mcap", sorted(sent, key=lambda m: m[1]))
    with pytest.raises(BagError, match="/command changes its length: it had 2 numbers and now has 3"):
        write_dataset([bag], tmp_path / "set", DatasetMap(action=(Vector("/command"),)))


def test_images_that_change_their_size(tmp_path):
    sent = [
        (FRONT, m[1], image(m[1], picture(0, 1, (32, 24)), "rgb8")) if m[:2] == (FRONT, at(0.3)) else m
        for m in messages(0.5)
    ]
    bag = write(tmp_path / "arm.mcap", sent)
    with pytest.raises(BagError, match="/front/image_raw changes its size, from 64x48 to 32x24 pixels"):
        write_dataset([bag], tmp_path / "set", MAP)
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["total_episodes"] == 0


def test_a_camera_that_stops_ends_the_episode(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(2.0, stopped=(0.5, 1.0)))
    with pytest.warns(BagWarning, match=r"a gap: /wrist/image_raw \(observation.images.wrist\) has its last"):
        done = write_dataset([bag], tmp_path / "set", MAP)
    got = rows(tmp_path / "set")
    assert done.episodes == 2
    with pytest.warns(BagWarning, match="has its last value 0.450 s after the start, the next comes 0.550 s later"):
        write_dataset([bag], tmp_path / "cut", replace(MAP, episodes=Cuts(times=((0.2, 2.0),))))  # of the recording
    # the last image is of 0.45 s, and 0.2 s old at most; then it goes on at 1 s
    assert got["episode_index"] == [0] * 14 + [1] * 20
    assert got["next.done"] == [i in (13, 33) for i in range(34)]


def test_a_single_frame_is_no_episode(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(1.0))
    cuts = Cuts(times=((0.0, 0.01), (0.1, 0.9)))
    with pytest.warns(BagWarning, match="a single frame 0.000 s after the start is left out"):
        done = write_dataset([bag], tmp_path / "set", DatasetMap(images={"front": FRONT}, episodes=cuts))
    assert (done.episodes, done.frames) == (1, 17)


def test_a_broken_image_is_a_gap(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(1.0, broken=(6, 7)))
    wanted = DatasetMap(images={"wrist": WRIST}, max_age=0.06)
    with pytest.warns(BagWarning, match=r"/wrist/image_raw 0.300 s after the start is left out.*expected"):
        done = write_dataset([bag], tmp_path / "set", wanted)
    got = rows(tmp_path / "set")  # that of 0.25 s is taken once more, being 0.05 s old, and not twice
    assert done.episodes == 2 and got["episode_index"] == [0] * 7 + [1] * 12
    assert write_dataset([bag], tmp_path / "set", wanted).resumed == 2


def test_no_space_at_the_second_episode(tmp_path, monkeypatch):
    bag, wanted = write(tmp_path / "arm.mcap", messages()), replace(HALVES, images={"front": FRONT}, depth={})
    write_dataset([bag], tmp_path / "whole", wanted)
    moved = dataset._moved

    def full(made, path):
        if path.name == "file-001.parquet" and path.parts[-3] == "data":
            raise OSError(errno.ENOSPC, "No space left on device")
        moved(made, path)

    monkeypatch.setattr(dataset, "_moved", full)
    with pytest.raises(BagError, match="set cannot be written: No space left"):
        write_dataset([bag], tmp_path / "set", wanted)
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (1, 19)
    assert rows(tmp_path / "set")["episode_index"] == [0] * 19
    monkeypatch.setattr(dataset, "_moved", moved)
    assert write_dataset([bag], tmp_path / "set", wanted).resumed == 1
    for file in (tmp_path / "whole").rglob("*"):
        if file.is_file():
            assert (tmp_path / "set" / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


def test_episodes_that_do_not_go_together(tmp_path):
    one, two = (write(tmp_path / f"{name}.mcap", messages(0.5 + 0.1 * len(name))) for name in ("a", "bb"))
    plain = DatasetMap(images={"front": FRONT})
    write_dataset([one], tmp_path / "set", plain)
    before = sorted((f, f.read_bytes()) for f in (tmp_path / "set").rglob("*") if f.is_file())
    for wanted, said in (
        ({"fps": 10}, "has 20 frames a second, these would have 10"),
        ({"images": {"wrist": WRIST}}, "observation.images.front is there, and would not be in these episodes"),
        ({"state": (Vector(JOINTS, joints=("elbow",)),)}, r"shape of observation.state is \[3\] there, \[1\] here"),
        ({"state": (Vector(JOINTS, joints=("elbow", "wrist", "shoulder")),)}, "names of observation.state"),
        ({"codec": "av1"}, "encoded in another way"),
    ):
        with pytest.raises(BagError, match=said):
            write_dataset([two], tmp_path / "set", DatasetMap(**({"images": {"front": FRONT}} | wanted)))
    with pytest.raises(BagError, match="made with other settings"):
        write_dataset([one], tmp_path / "set", DatasetMap(images={"front": FRONT}, max_age=0.1))
    assert sorted((f, f.read_bytes()) for f in (tmp_path / "set").rglob("*") if f.is_file()) == before


def test_folders_that_are_something_else(tmp_path):
    bag = write(tmp_path / "a.mcap", messages(0.5))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("")
    with pytest.raises(BagError, match="is no LeRobot data set"):
        write_dataset([bag], tmp_path / "other", BARE)
    write_dataset([bag], tmp_path / "set", BARE)
    path = tmp_path / "set/meta/info.json"
    whole = path.read_text()
    for broken, said in (
        (whole[:40], "can be read"),
        (whole.replace("v3.0", "v2.1"), "v2.1, expected v3.0"),
        ("[]", "can be"),
    ):
        path.write_text(broken)
        with pytest.raises(BagError, match=said):
            write_dataset([bag], tmp_path / "set", MAP)


def test_marks_of_a_recorder_cut(tmp_path):
    marks = [
        (MARK, at(t), flag(on)) for t, on in ((0.0, False), (0.201, True), (0.601, False), (0.801, True), (1.4, False))
    ]
    bag = write(tmp_path / "arm.mcap", sorted([*messages(2.0), *marks], key=lambda m: m[1]))
    done = write_dataset([bag], tmp_path / "set", DatasetMap(images={"front": FRONT}, episodes=Cuts(signal=MARK)))
    assert (done.episodes, done.frames) == (2, 8 + 12)


def test_calls_of_a_service_cut():
    from spatial_mllm_ros.lerobot.survey import _edge
    from spatial_mllm_ros.recordings.topic import Topic

    stamps = []
    note = _edge(Topic("/begin/_service_event", "std_srvs/srv/Trigger_Event"), stamps)
    for stamp, kind in ((10, 1), (11, 2), (20, 0), (21, 1), (22, 2)):  # 1: a request was received, as the first says
        note(stamp, bytes([0, 1, 0, 0, kind, 0, 0, 0]))
    assert stamps == [10, 21]


def test_stamps_of_another_clock(tmp_path):
    sent = []
    for topic, ns, message in messages(1.0):
        if topic in (FRONT, JOINTS, REWARDS):
            message.header.stamp.sec -= 1_600_000_000  # of a simulation
        sent.append((topic, ns, message))
    bag = write(tmp_path / "arm.mcap", sent)
    with pytest.warns(BagWarning, match="of another clock"):
        write_dataset([bag], tmp_path / "set", DatasetMap(images={"front": FRONT}, action=()))
    got = rows(tmp_path / "set")
    assert len(got["index"]) == 20 and sum(got["next.reward"]) == pytest.approx(19 * GROWTH)


@pytest.mark.parametrize("late", [(FRONT, REWARDS), (JOINTS,)])
def test_rewards_follow_the_clock_of_their_camera(tmp_path, late):
    """Stamps 3 s behind in 5 s: 0.5 m are gained at image 30, which is logged at 3 s, its reward 0.04 s later."""
    sent = []
    for topic, ns, message in messages(5.0, fps=10, joints=20, cameras=(FRONT,)):
        if topic == REWARDS:
            message = reward(ns, 0.5 if ns == at(3) else 0.0)
        if topic in late:
            message.header.stamp.sec -= 3
        sent.append((topic, ns + (40 * MS if topic == REWARDS else 0), message))
    bag = write(tmp_path / "arm.mcap", sorted(sent, key=lambda m: m[1]))
    with pytest.warns(BagWarning, match="of another clock"):
        write_dataset([bag], tmp_path / "set", DatasetMap(images={"front": FRONT}, action=()))
    assert np.flatnonzero(rows(tmp_path / "set")["next.reward"]).tolist() == [29]


def test_rewards_of_no_source_follow_the_clock_that_is_farthest_off():
    own = np.array([0, 100, 200])
    known = Survey([], True, [(own + 7, own + 9), (own, own + 3000)])
    assert known.on_this_clock(np.array([50, 150])).tolist() == [3050, 3150]
    assert known.on_this_clock(np.array([107, 207])).tolist() == [109, 209]  # stamps of the first
    assert Survey([]).on_this_clock(own).tolist() == [0, 100, 200]


def test_messages_that_were_stamped_long_before_are_counted(tmp_path):
    sent = messages(1.0)
    for _, ns, message in [m for m in sent if m[0] == JOINTS][10:17]:
        message.header.stamp = time(ns - 2_000_000_000)
    with pytest.warns(BagWarning, match="/joint_states: 7 messages stamped more than 1 s from when"):
        write_dataset([write(tmp_path / "arm.mcap", sent)], tmp_path / "set", BARE)


def test_tasks_and_signals_are_in_order_of_time(tmp_path, monkeypatch):
    told = [("/task", at(0.5), text("second")), (MARK, at(0.701), flag(False)), (MARK, at(0.1), flag(True))]
    bag = write(tmp_path / "arm.mcap", [*messages(1.0), *told])  # the first task comes at 0 s
    monkeypatch.setattr(Recording, "messages", _backwards(Recording.messages))
    write_dataset([bag], tmp_path / "set", replace(BARE, episodes=Cuts(signal=MARK)))
    assert rows(tmp_path / "set")["task_index"] == [0] * 8 + [1] * 5


def _backwards(messages):
    return lambda *args: reversed(list(messages(*args)))


def test_vectors_of_other_joints_are_left_out_and_said(tmp_path):
    grip = [(JOINTS, at(0.01 + i / 50), joint_state(at(0.01 + i / 50), [i], ("grip",))) for i in range(20)]
    bag = write(tmp_path / "arm.mcap", sorted([*messages(0.5), *grip], key=lambda m: m[1]))
    with pytest.warns(BagWarning, match="/joint_states: 20 messages have no such vector"):
        write_dataset([bag], tmp_path / "set", BARE)
    assert len(rows(tmp_path / "set")["observation.state"][0]) == 3
    named = DatasetMap(20, images={}, state=(Vector(JOINTS, joints=("grip",)),))
    with pytest.warns(BagWarning, match="/joint_states: 25 messages have no such vector"):
        write_dataset([bag], tmp_path / "grip", named)
    assert rows(tmp_path / "grip")["observation.state"][:2] == [0.0, 2.0]


def test_episodes_of_other_targets(tmp_path):
    camera = write(tmp_path / "a.mcap", messages(0.5))
    sent = [*messages(0.6), *((REWARDS, at(i / 20), reward(at(i / 20), 0.5, target="mug")) for i in range(12))]
    mug = write(tmp_path / "b.mcap", sorted(sent, key=lambda m: m[1]))
    for recordings in ([camera, mug], [mug]):  # of one run, and of the next
        with pytest.raises(BagError, match=r"b.mcap has rewards of mug, .*set those of camera: name reward.target"):
            write_dataset(recordings, tmp_path / "set", BARE)
    assert len(rows(tmp_path / "set")["index"]) == 10
    write_dataset([mug], tmp_path / "set", replace(BARE, reward=RewardOf(target="camera")))
    assert sum(rows(tmp_path / "set")["next.reward"]) == pytest.approx(GROWTH * (9 + 11))


def test_without_a_camera_there_are_no_rewards(tmp_path):
    bag = write(tmp_path / "arm.mcap", [m for m in messages(0.5) if m[0] in (JOINTS, COMMANDS)])
    assert guessed(bag)["next.reward"] == "none: there is no camera to measure them"
    wanted = DatasetMap(20, task=Text("wave"))
    with pytest.warns(BagWarning, match="arm.mcap: no rewards were recorded, and there is no camera"):
        done = write_dataset([bag], tmp_path / "set", wanted)
    assert done.frames == 10 and "next.reward" not in rows(tmp_path / "set")
    with pytest.raises(BagError, match="has no camera"):
        write_dataset([bag], tmp_path / "asked", replace(wanted, reward=RewardOf(target="mug")))


def test_what_is_guessed(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(0.5))
    assert guessed(bag) == {
        "observation.state": JOINTS,
        "action": COMMANDS,
        "task": "/task",
        "next.reward": "/spatial_mllm/motion_reward",
    }
    (tmp_path / "a.txt").write_text("none")
    assert guessed(tmp_path / "a.txt") == {}
