"""The command: its output, its errors in one line, its exit codes.

As a process, as people run it, where that may matter; else in this one.
"""

import json
import os
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import typer

from spatial_mllm_ros.cli import app
from spatial_mllm_ros.config import Config
from spatial_mllm_ros.doctor import diagnose
from spatial_mllm_ros.recordings import BagWriter, Recording, messages, read_frames
from tests.lerobot.arm import joint_state
from tests.recordings.card import pushed
from tests.recordings.recordings import write_ros2
from tests.report.variants import without_depth

COMMANDS = {"simulate", "info", "play", "sample", "ask", "join", "export", "annotate", "report", "doctor"}
START = [sys.executable, "-m", "spatial_mllm_ros.cli"]
REWARDS = "/spatial_mllm/motion_reward"


def run(*arguments: object, code: int = 0, start: list[str] = START) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*start, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, f"exit code {done.returncode}: {done.stderr}"
    return done


def error_of(done: Any) -> str:
    """The error, which is one line and no traceback."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def without_module(name: str) -> list[str]:
    """How to start the command where a package is not installed."""
    hide = f"import sys; sys.modules['{name}'] = None; from spatial_mllm_ros.cli import app; app()"
    return [sys.executable, "-c", hide]


# help


def test_every_command_and_option_says_what_it_is():
    group: Any = typer.main.get_command(app)
    assert set(group.commands) == COMMANDS
    for name, command in group.commands.items():
        assert command.help and command.help.strip(), name
        for option in command.params:
            assert option.help and option.help.endswith((".", "8", "2.5")), f"{name} {option.name}: {option.help}"


def test_help_names_unit_parameter_and_default(call):
    text = " ".join(call("sample", "--help").stdout.replace("│", " ").split())
    coverage = Config().coverage
    assert f"Edge of a coverage voxel, m (parameter coverage.voxel_size). [default: {coverage.voxel_size}]" in text
    assert f"[default: {coverage.frames}]" in text


def test_usage_errors_exit_with_2(call):
    for wrong in ["sample"], ["nonsense"], ["sample", "x", "--k", "many"], ["info", "x", "--what"]:
        done = call(*wrong, code=2)
        assert "Traceback" not in done.stderr and done.stderr.strip()


# info


def test_info_lists_topics_cameras_and_poses(call, simulated_bag):
    text = run("info", simulated_bag).stdout
    for part in (
        "/camera/color/image_raw/compressed",
        "sensor_msgs/msg/CompressedImage",
        "/tf_static",
        "poses: tf",
        "10.0",
    ):
        assert part in text
    known = json.loads(call("info", simulated_bag, "--json").stdout)
    assert known["cameras"]["camera"]["depth"] == "/camera/depth/image_raw/compressed"
    assert known["has_depth"] and known["has_poses"] and not known["problems"]
    assert {t["name"]: t["count"] for t in known["topics"]}["/odom"] == 30


# sample


@pytest.fixture(scope="module")
def sampled(simulated_bag, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("sample")
    done = run("sample", simulated_bag, "--k", 4, "--json", folder / "out.json", "--images", folder / "images")
    return {"json": json.loads((folder / "out.json").read_text()), "folder": folder, "text": done.stdout}


def test_sample_json_is_the_selection(sampled, simulated_bag):
    out = sampled["json"]
    assert list(out) == ["frames", "voxel_size", "voxels_seen", "voxels_covered"]
    assert out["voxel_size"] == Config().coverage.voxel_size
    assert len(out["frames"]) == 4
    for frame in out["frames"]:
        assert list(frame) == ["stamp_ns", "camera", "gain"]
    there = {f.key for f in read_frames(simulated_bag)}
    chosen = [(f["stamp_ns"], f["camera"]) for f in out["frames"]]
    assert set(chosen) <= there and len(set(chosen)) == 4


def test_gains_sum_to_the_voxels_covered_and_shrink(sampled):
    out = sampled["json"]
    gains = [f["gain"] for f in out["frames"]]
    assert sum(gains) == out["voxels_covered"] <= out["voxels_seen"]
    assert gains == sorted(gains, reverse=True) and gains[-1] > 0


def test_sample_writes_the_selected_images(sampled, simulated_bag):
    files = sorted((sampled["folder"] / "images").iterdir())
    assert len(files) == 4
    frames = {f.stamp_ns: f for f in read_frames(simulated_bag)}
    for file, chosen in zip(files, sampled["json"]["frames"], strict=True):
        assert str(chosen["stamp_ns"]) in file.name
        image = np.asarray(cv2.imread(str(file)))[..., ::-1].astype(int)
        assert np.abs(image - frames[chosen["stamp_ns"]].image).mean() < 5


def test_sample_prints_what_it_writes(sampled):
    assert f"{sampled['json']['voxels_covered']:,} of {sampled['json']['voxels_seen']:,} voxels" in sampled["text"]


def test_offline_covers_about_as_much_and_voxels_can_be_larger(call, sampled, simulated_bag, tmp_path):
    call("sample", simulated_bag, "--k", 4, "--offline", "--json", tmp_path / "offline.json")
    offline = json.loads((tmp_path / "offline.json").read_text())
    assert offline["voxels_seen"] == sampled["json"]["voxels_seen"]
    assert sampled["json"]["voxels_covered"] >= 0.98 * offline["voxels_covered"]
    call("sample", simulated_bag, "--k", 4, "--voxel-size", 0.5, "--json", tmp_path / "large.json")
    large = json.loads((tmp_path / "large.json").read_text())
    assert large["voxel_size"] == 0.5 and large["voxels_seen"] < offline["voxels_seen"]


def test_input_without_depth_says_what_is_missing(call, simulated_bag, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((48, 64, 3), np.uint8))
    video = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in (0, 100, 200):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.release()
    bag = without_depth(simulated_bag, tmp_path / "flat.mcap")
    inputs = {folder: 1, tmp_path / "film.avi": 3, bag: 30}
    for path, count in inputs.items():
        text = error_of(call("sample", path, "--json", tmp_path / "out.json", code=1))
        assert f"none of the {count} frames has depth" in text and "model" in text
    assert not (tmp_path / "out.json").exists()


def test_a_broken_video_is_named_once(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    text = error_of(run("sample", tmp_path / "film.mp4", code=1))
    assert "film.mp4 begins like a video, but cannot be decoded: it is cut off" in text and text.count("film.mp4") == 1
    (tmp_path / "film.mp4").write_bytes(bytes(100))
    text = error_of(run("sample", tmp_path / "film.mp4", code=1))
    assert "film.mp4 cannot be read: expected a recording" in text and "or a video that can be decoded" in text


# errors


def test_missing_and_broken_files_are_named(call, tmp_path):
    (tmp_path / "broken.mcap").write_bytes(b"not a recording")
    commands = [["info", "gone.mcap"], ["sample", "gone.mcap"], ["report", "gone.mcap"], ["info", "broken.mcap"]]
    for command, name in commands:
        assert name in error_of(call(command, tmp_path / name, code=1))
    assert "gone.mcap" in error_of(run("info", tmp_path / "gone.mcap", code=1))


def test_wrong_topic_lists_the_right_ones(call, simulated_bag):
    text = error_of(call("sample", simulated_bag, "--source", "depth=/camera/dept", code=1))
    assert "/camera/dept" in text and "/camera/depth/image_raw/compressed" in text


def test_values_out_of_range_name_the_range(call, simulated_bag, tmp_path):
    assert "coverage.frames = 0: expected 1 to 256" in error_of(call("sample", simulated_bag, "--k", 0, code=1))
    text = error_of(call("simulate", tmp_path / "x.mcap", "--size", "large", code=1))
    assert "'large'" in text and "640x480" in text


def test_unwritable_output_is_named_and_leaves_nothing(call, simulated_bag, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    below = file / "out.mcap"
    commands: list[list[object]] = [
        ["sample", simulated_bag, "--json", below],
        ["report", simulated_bag, "--out", below],
        ["annotate", simulated_bag, "--out", below],
        ["simulate", below, "--duration", 1, "--size", "64x48"],
    ]
    for command in commands:
        assert str(file) in error_of(call(*command, code=1))
    assert list(tmp_path.iterdir()) == [file]


def test_missing_package_comes_with_its_command(simulated_bag, tmp_path):
    done = run("report", simulated_bag, "--out", tmp_path / "r.html", code=1, start=without_module("jinja2"))
    assert "pip install 'jinja2>=3.1'" in error_of(done)
    text = error_of(run("simulate", tmp_path / "x.mcap", code=1, start=without_module("embreex")))
    assert "embreex" in text and "pip install" in text


def test_debug_shows_where(call, tmp_path):
    done = call("--debug", "info", tmp_path / "gone.mcap", code=1)
    assert "Traceback" in done.stderr and "error: " in done.stderr


# simulate, annotate, report, doctor


def test_simulate_refuses_to_overwrite_unless_told(call, tmp_path):
    path = tmp_path / "room.mcap"
    path.write_bytes(b"precious")
    small = ["--duration", 0.4, "--fps", 5, "--size", "64x48"]
    assert "room.mcap" in error_of(call("simulate", path, *small, code=1))
    assert path.read_bytes() == b"precious"
    call("simulate", path, "--overwrite", *small)
    assert len([f for f in read_frames(path) if f.has_depth]) == 2


def test_annotate_writes_rewards_beside_the_poses(call, simulated_bag, tmp_path):
    out = tmp_path / "rewards.mcap"
    call("annotate", simulated_bag, "--out", out, "--target", "corner:camera:20,20,80,60", "--goal", "camera:0,0,1")
    topics = {topic for topic, _, _ in messages(out)}
    assert REWARDS in topics and "/tf" in topics and "/camera/color/image_raw/compressed" not in topics
    rewards = [m for topic, _, m in messages(out) if topic == REWARDS]
    by_target = {name: [m for m in rewards if m.target == name] for name in ("camera", "corner")}
    assert len(by_target["camera"]) == 30 and len(by_target["corner"]) == 29
    first, last = (np.asarray(f.world_from_camera)[:3, 3] for f in [*read_frames(simulated_bag)][::29])
    nearer = np.linalg.norm(first - [0, 0, 1]) - np.linalg.norm(last - [0, 0, 1])
    assert sum(m.reward for m in by_target["camera"]) == pytest.approx(nearer, abs=1e-3)
    assert "exists" in error_of(call("annotate", simulated_bag, "--out", out, code=1))


def test_what_is_a_jump_is_an_option(call, tmp_path):
    """A camera at 0.12 m/s from its first frame on, which is a jump where the limit is lower."""
    bag, out, slow = write_ros2(tmp_path / "r", pushed(5)), tmp_path / "out.mcap", ["--max-speed", 0.1]
    told = "jumped by 0.004 m within 0.033 s"
    for limits, jumps in (([], False), (slow, True)):
        done = call("annotate", bag, "--out", out, "--overwrite", *limits)
        assert ("warning: camera 'camera' " + told in done.stderr) == jumps
        assert [m.valid for topic, _, m in messages(out) if topic == REWARDS] == [True, not jumps, True, True, True]
        call("report", bag, "--out", tmp_path / "page.html", *limits)
        assert (told in (tmp_path / "page.html").read_text()) == jumps


def test_annotate_refuses_targets_that_cannot_be(call, simulated_bag, tmp_path):
    out = tmp_path / "rewards.mcap"
    command = ["annotate", simulated_bag, "--out", out]
    wrong = {"front": ["--target", "corner:front:1,2,30,40"], "/odom": ["--topic", "/nope"]}
    for part, options in wrong.items():
        assert part in error_of(call(*command, *options, code=1))
    assert not list(tmp_path.iterdir())


def test_annotate_adds_episodes_to_a_data_set(call, simulated_bag, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    with Recording(simulated_bag) as recording, BagWriter(tmp_path / "arm.mcap") as bag:
        for topic in recording.topics.values():
            bag.add_topic(topic, recording.types(topic))
        for number, (topic, stamp, data) in enumerate(recording.messages()):
            for name in ("/joint_states", "/joint_commands"):
                bag.write(name, joint_state(stamp, [number, 1.0, np.sin(number)]), stamp)
            bag.write_cdr(topic.name, data, stamp)
    command, data_set = ["annotate", tmp_path / "arm.mcap", "--lerobot", tmp_path / "set"], tmp_path / "set"
    assert "has no task; name it with --task" in error_of(call(*command, code=1))
    said = " ".join(call("info", tmp_path / "arm.mcap").stdout.split())
    assert "observation.state: /joint_states, action: /joint_commands" in said
    done = call(*command, "--task", "look around")
    rows = pq.read_table(data_set / "data/chunk-000/file-000.parquet")
    assert f"1 episodes of {len(rows)} frames" in done.stderr and len(rows) >= 29
    first, last = (np.asarray(f.world_from_camera)[:3, 3] for f in [*read_frames(simulated_bag)][::29])
    assert sum(rows["next.reward"].to_pylist()) == pytest.approx(np.linalg.norm(last - first), abs=1e-3)
    assert "1 of them from an earlier run" in call(*command, "--task", "look around").stderr
    (tmp_path / "map.yaml").write_text("state: /joint_state\n")
    wrong = error_of(call(*command[:2], "--lerobot", tmp_path / "other", "--map", tmp_path / "map.yaml", code=1))
    assert "did you mean /joint_states?" in wrong


@pytest.mark.parametrize("options", [[], ["--out", "a.mcap", "--lerobot", "b"], ["--lerobot", "b", "--overwrite"]])
def test_annotate_writes_one_thing(call, simulated_bag, options):
    call("annotate", simulated_bag, *options, code=2)


def test_report_writes_a_page(call, simulated_bag, tmp_path):
    done = call("report", simulated_bag, "--out", tmp_path / "page.html", "--k", 3)
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>") and page.count('<figure id="frame-') == 3
    assert "page.html" in done.stderr and [f.name for f in tmp_path.iterdir()] == ["page.html"]


def test_doctor_says_what_runs_here(call, monkeypatch):
    checks = diagnose()
    monkeypatch.setattr("spatial_mllm_ros.doctor.diagnose", lambda: checks)
    found = json.loads(call("doctor", "--json").stdout)
    assert found["can_run"] is True
    by_name = {c["name"]: c for c in found["checks"]}
    assert by_name["numpy"]["found"] == np.__version__ and by_name["numpy"]["ok"]
    text = call("doctor").stdout
    assert all(name in text for name in by_name)


def test_doctor_says_what_to_install():
    done = run("doctor", "--json", code=1, start=without_module("numba"))
    found = json.loads(done.stdout)
    assert found["can_run"] is False
    missing = [c for c in found["checks"] if c["needed"] and not c["ok"]]
    assert [(c["name"], c["remedy"]) for c in missing] == [("numba", "pip install 'numba>=0.60'")]


# play


def test_play_publishes_a_part(simulated_bag):
    pytest.importorskip("rclpy", reason="needs ROS 2 (the wheels, or a sourced installation)")
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": "87"}
    command = [*START, "play", str(simulated_bag), "--start", "1", "--duration", "1", "--rate", "4", "--topic", "/odom"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "played 10 messages" in done.stderr


def test_play_names_a_wrong_topic(call, simulated_bag):
    pytest.importorskip("rclpy", reason="needs ROS 2 (the wheels, or a sourced installation)")
    assert "/odom" in error_of(call("play", simulated_bag, "--topic", "/nope", code=1))
