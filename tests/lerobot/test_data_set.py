"""Recordings become data sets: every number is read back and compared with what the recording says."""

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib.resources import files
from itertools import count

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spatial_mllm_ros.config import Config
from spatial_mllm_ros.lerobot import dataset
from spatial_mllm_ros.lerobot.convert import Rewarding, write_dataset
from spatial_mllm_ros.lerobot.map import Cuts, DatasetMap, RewardOf, Text
from spatial_mllm_ros.lerobot.video import FARTHEST, MOST, NEAREST, SHIFT
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import BagError, BagWarning, BagWriter
from spatial_mllm_ros.recordings.topic import Topic
from spatial_mllm_ros.recordings.types import REWARD

from ..recordings.card import camera_x, pushed
from ..recordings.recordings import START, STEP, write_ros2
from .arm import (
    DEPTH,
    FRONT,
    GROWTH,
    JOINTS,
    NAMES,
    REWARDS,
    TASK,
    WRIST,
    angles,
    at,
    depth_image,
    joint_state,
    messages,
    picture,
    reward,
    text,
    write,
)

pq = pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")
VIEWS = {"front": FRONT, "wrist": WRIST}
MAP = DatasetMap(images=VIEWS, depth={"front": DEPTH})
BARE = DatasetMap(fps=20, images={})
HALVES = replace(MAP, episodes=Cuts(times=((0.0, 0.9), (1.0, 2.0))))


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    return write(tmp_path_factory.mktemp("arm") / "arm.mcap", messages())


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        yield


def rows(path, kind="data"):
    files = sorted((path / kind).glob("*/*.parquet"))
    tables = [pq.read_table(file).to_pydict() for file in files]
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def meta(path, name="info"):
    return json.loads((path / f"meta/{name}.json").read_text())


def pictures(path, key, number, form="rgb24"):
    with av.open(str(path / f"videos/{key}/chunk-000/file-{number:03d}.mp4")) as video:
        return [frame.to_ndarray(format=form) for frame in video.decode(video=0)]


def digests(path):
    return {
        str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in path.rglob("*")
        if f.is_file() and f.suffix != ".mp4"
    }


def test_every_value_is_the_newest_of_the_recording(arm, tmp_path):
    done = write_dataset([arm], tmp_path / "set", HALVES)
    assert (done.episodes, done.frames, done.resumed) == (2, 19 + 20, 0)
    got = rows(tmp_path / "set")
    ticks = [at(i / 20) for i in (*range(19), *range(20, 40))]
    newest = [max(at(k / 50) for k in range(100) if at(k / 50) <= tick) for tick in ticks]
    np.testing.assert_allclose(got["observation.state"], [angles(ns) for ns in newest], atol=1e-6)
    sent = [max(at(k / 50) for k in range(100) if at(k / 50) < tick + 49_000_000) for tick in ticks]  # before the next
    moved = [np.add(angles(ns), 0.1 * np.sin(2 * np.pi * (ns - START) / 1e9)) for ns in sent]
    np.testing.assert_allclose(got["action"], moved, atol=1e-6)
    frames = [*range(19), *range(20)]
    assert got["frame_index"] == frames and got["index"] == list(range(39))
    assert got["episode_index"] == [0] * 19 + [1] * 20
    np.testing.assert_allclose(got["timestamp"], np.array(frames) / 20, atol=1e-6)
    assert got["next.done"] == [i in (18, 38) for i in range(39)]
    assert got["task_index"] == [0] * 39
    info = meta(tmp_path / "set")
    assert (info["fps"], info["total_episodes"], info["total_frames"], info["total_tasks"]) == (20, 2, 39, 1)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [3], "names": list(NAMES)}
    assert pq.read_table(tmp_path / "set/meta/tasks.parquet")["task"].to_pylist() == ["push the mug"]
    assert not list(tmp_path.glob(".*"))


def test_videos_show_the_frames(arm, tmp_path):
    write_dataset([arm], tmp_path / "set", HALVES)
    for seed, name in enumerate(VIEWS):
        shown = [f for number in (0, 1) for f in pictures(tmp_path / "set", f"observation.images.{name}", number)]
        sent = [picture(seed, i).astype(int) for i in (*range(19), *range(20, 40))]
        assert len(shown) == 39
        apart = np.array([[abs(a - b).mean() for b in sent] for a in shown])
        assert (apart.argmin(1) == np.arange(39)).all() and apart.diagonal().max() < 8
    steps = pictures(tmp_path / "set", "observation.images.front_depth", 1, "gray12le")
    low, high = np.log(NEAREST + SHIFT), np.log(FARTHEST + SHIFT)
    for i, shown in enumerate(steps):  # lossless but for the steps
        metres = np.exp(shown / MOST * (high - low) + low) - SHIFT
        np.testing.assert_allclose(metres, depth_image(20 + i) / 1000, atol=0.001)
    with av.open(str(tmp_path / "set/videos/observation.images.front/chunk-000/file-000.mp4")) as video:
        assert float(video.streams.video[0].average_rate) == 20
        np.testing.assert_allclose([float(f.pts * f.time_base) for f in video.decode(video=0)], np.arange(19) / 20)


def test_statistics_are_those_of_all_data(arm, tmp_path):
    write_dataset([arm], tmp_path / "set", HALVES)
    stats, got = meta(tmp_path / "set", "stats"), rows(tmp_path / "set")
    for name in ("observation.state", "action", "next.reward", "next.done", "timestamp", "index"):
        values = np.array(got[name], float).reshape(39, -1)
        for what in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(stats[name][what], getattr(values, what)(0), atol=1e-6)
        assert stats[name]["count"] == [39]
    sent = np.array([picture(0, i) for i in (*range(19), *range(20, 40))]).reshape(-1, 3) / 255
    front = stats["observation.images.front"]
    assert np.shape(front["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(front["mean"]), sent.mean(0), atol=1e-6)
    np.testing.assert_allclose(np.ravel(front["std"]), sent.std(0), atol=1e-6)
    metres = np.array([depth_image(i) for i in (*range(19), *range(20, 40))]) / 1000
    np.testing.assert_allclose(stats["observation.images.front_depth"]["mean"], [[[metres.mean()]]], atol=0.002)
    episode = rows(tmp_path / "set", "meta/episodes")
    np.testing.assert_allclose(episode["stats/action/max"][1], np.max(got["action"][19:], axis=0), atol=1e-6)


def test_rewards_are_recorded_ones_and_progress_their_share(arm, tmp_path):
    write_dataset([arm], tmp_path / "set", replace(HALVES, reward=RewardOf(way=0.1)))
    got = rows(tmp_path / "set")
    sums = [sum(got["next.reward"][:19]), sum(got["next.reward"][19:])]
    np.testing.assert_allclose(sums, [GROWTH * 18, GROWTH * 19], atol=1e-7)  # what came after its first frame
    assert got["next.reward_valid"] == [i not in (18, 38) for i in range(39)]  # nothing was measured after the last
    assert "next.reward_stddev" not in got
    table = pq.read_table(tmp_path / "set/sarm_progress.parquet")
    shares = [GROWTH * i / 0.1 for i in (*range(19), *range(20))]
    np.testing.assert_allclose(table["progress_sparse"].to_numpy(), shares, atol=1e-5)
    assert table["index"].to_pylist() == list(range(39))
    said = json.loads(table.schema.metadata[b"spatial_mllm_ros"])
    assert said["ways_m"] == [0.1] and said["targets"] == ["camera"] and "0.1 m" in said["rules"][0]
    assert table.schema.metadata[b"reward_model_path"]


def test_rewards_are_of_one_source(tmp_path):
    """Geometry gains 0.002 m a frame, the model 0.01 m in each fifth: their sums are 0.078 and 0.07 m."""
    model = [(REWARDS, at(i / 20), reward(at(i / 20), 0.01, source="mllm")) for i in range(5, 40, 5)]
    both = write(tmp_path / "both.mcap", sorted([*messages(), *model], key=lambda m: m[1]))
    with pytest.warns(BagWarning, match="of camera are there from geometry and mllm: those from geometry are taken"):
        write_dataset([both], tmp_path / "both", BARE)
    assert sum(rows(tmp_path / "both")["next.reward"]) == pytest.approx(0.078)
    write_dataset([both], tmp_path / "named", replace(BARE, reward=RewardOf(source="mllm")))
    assert sum(rows(tmp_path / "named")["next.reward"]) == pytest.approx(0.07)
    alone = write(
        tmp_path / "alone.mcap", sorted([*(m for m in messages() if m[0] != REWARDS), *model], key=lambda m: m[1])
    )
    with pytest.warns(BagWarning, match="of camera are there from mllm: those from mllm are taken"):
        write_dataset([alone], tmp_path / "alone", BARE)
    assert sum(rows(tmp_path / "alone")["next.reward"]) == pytest.approx(0.07)
    with pytest.raises(BagError, match="no rewards of camera from geometry; there are mllm"):
        write_dataset([alone], tmp_path / "none", replace(BARE, reward=RewardOf(source="geometry")))


def test_standard_deviations_are_a_column(tmp_path):
    known = [0.001 * i if i % 3 else float("nan") for i in range(40)]
    _write_sure(tmp_path, known)
    write_dataset([tmp_path / "a.mcap"], tmp_path / "set", BARE)
    got = rows(tmp_path / "set")["next.reward_stddev"]
    np.testing.assert_allclose(got, [k if k == k else -1.0 for k in known[1:]] + [-1.0], atol=1e-9)
    plain = write(tmp_path / "plain.mcap", messages(1.0))
    write_dataset([plain], tmp_path / "set", BARE)
    assert rows(tmp_path / "set")["next.reward_stddev"][40:] == [-1.0] * 20
    write_dataset([plain], tmp_path / "without", BARE)
    with pytest.warns(BagWarning, match="without has no next.reward_stddev: how sure these rewards are is left out"):
        write_dataset([tmp_path / "a.mcap"], tmp_path / "without", BARE)
    assert len(rows(tmp_path / "without")["next.reward"]) == 60


def _write_sure(tmp_path, known):
    definition = files("spatial_mllm_ros").joinpath("definitions/MotionReward.msg").read_text("utf-8")
    store = get_typestore(Stores.ROS2_JAZZY)
    more = "" if "float64 stddev" in definition else "\nfloat64 stddev\n"
    store.register(get_types_from_msg(definition + more, REWARD))
    with BagWriter(tmp_path / "a.mcap") as bag:
        bag.add_topic(Topic(REWARDS, REWARD), store)
        for topic, ns, message in messages():
            if topic == REWARDS:
                values = {
                    name: getattr(message, name) for name in vars(message) if name not in ("stddev", "__msgtype__")
                }
                sure = store.types[REWARD](**values, stddev=known[round((ns - START) / 5e7)])
                bag.write_cdr(topic, store.serialize_cdr(sure, REWARD), ns)
            else:
                bag.write(topic, message, ns)


def test_measured_rewards_sum_to_the_motion(tmp_path):
    sent = pushed(40)
    sent += [(JOINTS, START + i * STEP, joint_state(START + i * STEP, [i, 0.5 * i, -i])) for i in range(40)]
    bag = write_ros2(tmp_path / "card", sorted(sent, key=lambda m: m[1]))
    with pytest.warns(BagWarning, match="no action"):
        write_dataset([bag], tmp_path / "set", DatasetMap(task=Text("look around")))
    got = rows(tmp_path / "set")
    assert len(got["index"]) == 39 and "action" not in got  # STEP is a little less than a thirtieth of a second
    assert sum(got["next.reward"]) == pytest.approx(abs(camera_x(39)), abs=1e-6)
    np.testing.assert_allclose(np.cumsum(got["next.reward"]), [abs(camera_x(i)) for i in range(1, 40)], atol=1e-6)
    share = pq.read_table(tmp_path / "set/sarm_progress.parquet")["progress_sparse"].to_numpy()
    np.testing.assert_allclose(share, [abs(camera_x(i)) / abs(camera_x(38)) for i in range(39)], atol=1e-4)


def test_named_targets_are_measured_though_rewards_are_recorded(tmp_path, monkeypatch):
    asked = []

    def annotate(source, out, *, targets, **_):
        asked.append(targets)
        write(out, [(REWARDS, at(i / 20), reward(at(i / 20), 1.0, target="mug")) for i in range(40)])

    monkeypatch.setattr("spatial_mllm_ros.lerobot.rewards.annotate", annotate)
    target = Target("mug", roi=(1, 1, 9, 9))
    bag = write(tmp_path / "a.mcap", messages())
    write_dataset([bag], tmp_path / "set", BARE, Rewarding([target], Config()))
    assert asked == [[target]] and sum(rows(tmp_path / "set")["next.reward"]) == 39


def test_the_same_bytes_again_appended_or_at_once(arm, tmp_path):
    other = write(tmp_path / "other.mcap", [m if m[0] != TASK else (TASK, m[1], text("wait")) for m in messages(1.5)])
    wanted = replace(HALVES, images={"front": FRONT}, depth={})
    write_dataset([arm, other], tmp_path / "at_once", wanted)
    write_dataset([arm], tmp_path / "one", wanted)
    write_dataset([other], tmp_path / "one", wanted)
    there = digests(tmp_path / "one")
    assert there == digests(tmp_path / "at_once")
    assert write_dataset([arm, other], tmp_path / "one", wanted).resumed == 4
    assert digests(tmp_path / "one") == there
    tasks = pq.read_table(tmp_path / "one/meta/tasks.parquet").to_pydict()
    assert tasks == {"task_index": [0, 1], "task": ["push the mug", "wait"]}
    assert rows(tmp_path / "one")["task_index"][-1] == 1
    copy = shutil.copy(arm, tmp_path / "arm.mcap")  # of another time
    assert write_dataset([copy], tmp_path / "one", wanted).resumed == 2


class Killed(BaseException):
    pass


def test_killed_at_any_file_it_goes_on_and_ends_with_the_same_bytes(arm, tmp_path, monkeypatch):
    wanted = replace(HALVES, depth={}, images={})
    write_dataset([arm], tmp_path / "whole", wanted)
    expected, moved, drop = digests(tmp_path / "whole"), dataset._moved, dataset.DataSet._drop_unfinished
    for kill in count():
        left, killed = iter(range(kill)), []

        def move(made, path, left=left, killed=killed):
            if next(left, None) is None:
                killed.append(path)
                raise Killed
            moved(made, path)

        monkeypatch.setattr(dataset, "_moved", move)  # nobody tidies up after a kill
        monkeypatch.setattr(dataset.DataSet, "_drop_unfinished", lambda self, killed=killed: killed or drop(self))
        out = tmp_path / f"killed_{kill}"
        try:
            write_dataset([arm], out, wanted)
            break
        except Killed:
            pass
        monkeypatch.setattr(dataset, "_moved", moved)
        monkeypatch.setattr(dataset.DataSet, "_drop_unfinished", drop)
        write_dataset([arm], out, wanted)
        assert digests(out) == expected, kill
    assert kill == 1 + 2 * 2 + 4  # info.json; of each episode data and its row; progress, tasks, statistics, info.json


def test_lerobot_doctor_has_nothing_to_say(tmp_path):
    pytest.importorskip("lerobot_doctor", reason="lerobot-doctor is not in this environment")
    bag = write(tmp_path / "arm.mcap", messages(11.0))
    write_dataset([bag], tmp_path / "set", replace(MAP, episodes=Cuts(times=((0.0, 5.45), (5.5, 11.0)))))
    command = [sys.executable, "-m", "lerobot_doctor.cli", "check", str(tmp_path / "set"), "--ci", "--fail-on=warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
