"""What is left out of a recording is told with its number and its cause, by every command, and with what would help."""

import json
import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from spatial_mllm_ros.annotate.bag import annotate
from spatial_mllm_ros.cli import app
from spatial_mllm_ros.config import Config, build
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.recordings import BagWarning, FrameReader, read_frames, recording_info
from spatial_mllm_ros.report import analyse
from spatial_mllm_training.multispa.sources.bag import BagRef
from tests.cases import room
from tests.cases.room import COLOR, DEPTH, INFO, START, STEP
from tests.recordings.recordings import compressed, image, write_ros2

FRAMES = 12
LENS = "30 images left out, no camera_info: camera 'camera': camera_info: distortion model 'bent'"
MS = 1_000_000


def bag_of(tmp_path, frames=FRAMES, **changes):
    return write_ros2(tmp_path / "bag", room.recording(frames, **changes))


def shifted(ms, every=1):
    """Depth that is stamped so much later than colour, of every so manieth frame."""

    def depth(ns, metres):
        wanted = (ns - START) // STEP % every == 0
        return image(ns + ms * MS, room.millimetres(metres), "16UC1") if wanted else None

    return depth


def bent(ns):
    return room.info(ns, model="bent", d=(0.1, 0.2))


def test_each_command_tells_why_a_lens_cannot_be_used(tmp_path):
    bag = bag_of(tmp_path, 30, camera_info=bent)
    assert any(LENS in problem for problem in recording_info(bag, 0).problems)
    with pytest.warns(BagWarning, match=re.escape(LENS)):
        assert not list(read_frames(bag))
    with pytest.warns(BagWarning, match=re.escape(LENS)):
        assert annotate(bag, tmp_path / "new.mcap").frames == 0
    assert any(LENS in note for note in analyse(bag, Config()).notes)
    with pytest.raises(SpatialError, match=re.escape(LENS)):
        BagRef(bag, "bag").open()
    shown = CliRunner().invoke(app, ["info", str(bag)])
    assert LENS in " ".join(shown.output.split())
    assert "0 of 30 images make complete frames; 0 have camera_info, 0 depth, 0 a pose" in shown.output


def test_a_depth_that_cannot_be_used_is_the_reason_that_is_told(tmp_path):
    bag = bag_of(tmp_path, depth=lambda ns, metres: image(ns, np.zeros((120, 160, 3), np.uint8), "16UC3"))
    with pytest.warns(BagWarning) as caught:
        assert len(list(read_frames(bag, depth=DEPTH))) == FRAMES
    assert any("12 frames without depth: camera 'camera': " in str(w.message) for w in caught)
    assert any("16UC3" in str(w.message) for w in caught)


def test_a_transform_that_cannot_be_used_is_the_reason_that_is_told(tmp_path):
    found = [m for m in room.recording(FRAMES) if m[0] != "/tf_static"]
    broken = room.transforms((START, "base_link", "optical", room.MOUNT))
    broken.transforms[0].transform.rotation.w = 5.0
    bag = write_ros2(tmp_path / "bag", [("/tf_static", START, broken), *found])
    text = (
        "12 images left out, no pose: .*'optical' is unknown.*; a transform cannot be used: 'base_link' to 'optical':"
    )
    with pytest.warns(BagWarning, match=text):
        assert not list(read_frames(bag))


@pytest.mark.parametrize("ms", [12, -12, 20])
def test_depth_a_little_beside_colour_is_paired(tmp_path, ms):
    frames = list(read_frames(bag_of(tmp_path, depth=shifted(ms))))
    assert [f.has_depth for f in frames] == [True] * FRAMES


@pytest.mark.parametrize("ms", [25, -25, 41])
def test_depth_too_far_beside_colour_is_told_with_what_would_pair_it(tmp_path, ms):
    bag = bag_of(tmp_path, depth=shifted(ms))
    needed = abs(ms) / 1e3
    text = rf"12 frames without depth: .* is {needed:.3f} s away; sync.tolerance \(--tolerance\) of {needed:g} s would"
    with pytest.warns(BagWarning, match=text):
        assert not any(f.has_depth for f in read_frames(bag))
    frames = list(read_frames(bag, build({"sync.tolerance": needed})))
    assert [f.has_depth for f in frames] == [True] * FRAMES
    for i, frame in enumerate(frames):
        right = room.millimetres(room.see(room.camera_pose(i))[0]) / 1000
        np.testing.assert_allclose(frame.depth, right, atol=1e-6)


@pytest.mark.filterwarnings("error::spatial_mllm_ros.recordings.BagWarning")
def test_depth_that_comes_more_often_than_colour_is_paired_with_the_nearest(tmp_path):
    found = room.recording(FRAMES, depth=shifted(1))
    for i in range(FRAMES):
        ns = START + i * STEP + STEP // 2
        found.append((DEPTH, ns, image(ns, np.full((120, 160), 7, np.uint16), "16UC1")))
    frames = list(read_frames(write_ros2(tmp_path / "bag", sorted(found, key=lambda m: m[1]))))
    assert len(frames) == FRAMES and all(frame.depth.min() > 0.1 for frame in frames)


def test_depth_of_every_second_image_is_told_and_no_tolerance_advised(tmp_path):
    info = recording_info(bag_of(tmp_path, depth=shifted(0, every=2)), 0)
    (problem,) = info.problems
    assert problem.startswith("6 frames without depth: camera 'camera': no depth within 0.02 s (sync.tolerance)")
    assert "--tolerance" not in problem
    seen = info.seen["camera"]
    assert (seen.images, seen.frames, seen.with_depth, seen.with_pose, seen.complete) == (12, 12, 6, 12, 6)
    assert seen.size == seen.depth_size == room.SIZE


def test_a_good_recording_has_no_problems(tmp_path):
    bag = bag_of(tmp_path)
    info = recording_info(bag, 0)
    assert info.problems == [] and info.seen["camera"].complete == FRAMES
    assert recording_info(bag).seen == {}, "only where it is asked"


def test_info_looks_at_a_part_of_a_long_recording(tmp_path):
    bag = bag_of(tmp_path)
    info = recording_info(bag, 0.55)
    assert info.seen["camera"].complete == 6 and info.looked == 0.55 and not info.problems
    shown = CliRunner().invoke(app, ["info", str(bag), "--seconds", "0.55"]).output
    assert "6 of 6 images of the first 0.55 s (--seconds 0 takes all) make complete frames" in shown


def test_info_looks_at_all_where_a_topic_comes_late(tmp_path):
    late = [(t, ns + 20 * STEP * (t == DEPTH), m) for t, ns, m in room.recording(FRAMES)]
    bag = write_ros2(tmp_path / "bag", sorted(late, key=lambda m: m[1]))
    assert recording_info(bag, 0.5).seen["camera"].complete == FRAMES


def test_info_looks_past_messages_that_were_logged_before_there_was_a_clock(tmp_path):
    bag = write_ros2(tmp_path / "bag", [(t, ns * (ns > START), m) for t, ns, m in room.recording(FRAMES)])
    info = recording_info(bag, 60.0)
    assert info.seen["camera"].complete == FRAMES and not info.problems
    assert (info.start_ns, info.duration) == (START + STEP, pytest.approx((FRAMES - 2) * STEP / 1e9))


def test_info_says_that_pixels_are_broken(tmp_path):
    def damaged(ns, metres):
        _, png = cv2.imencode(".png", (1000 * metres).astype(np.uint16))
        data = png.tobytes()
        data = data[:41] + bytes(200) + data[241:]  # header and end are whole
        return compressed(ns, bytes(12) + data, "16UC1; compressedDepth png")

    bag = bag_of(tmp_path, depth=damaged, topics=(COLOR, f"{DEPTH}/compressedDepth", INFO))
    problems = recording_info(bag, 0).problems
    assert [p for p in problems if p.startswith("camera 'camera': its first depth cannot be decoded: ")], problems


def test_the_options_of_the_command_line_reach_the_reader(tmp_path):
    bag = bag_of(tmp_path, depth=shifted(25))
    run = CliRunner().invoke
    values = json.loads(run(app, ["info", str(bag), "--json"]).stdout)
    assert values["seen"]["camera"]["complete"] == 0 and "--tolerance" in values["problems"][0]
    values = json.loads(run(app, ["info", str(bag), "--json", "--tolerance", "0.03"]).stdout)
    assert values["seen"]["camera"]["complete"] == FRAMES and values["problems"] == []
    assert run(app, ["sample", str(bag)]).exit_code == 1
    assert run(app, ["sample", str(bag), "--tolerance", "0.03"]).exit_code == 0
    new = str(tmp_path / "new.mcap")
    assert run(app, ["annotate", str(bag), "--out", new, "--tolerance", "0.03"]).exit_code == 0
    page = tmp_path / "page.html"
    assert run(app, ["report", str(bag), "--out", str(page), "--max-gap", "0.4"]).exit_code == 0
    assert "12 frames without depth" in page.read_text()
    assert "expected 0.0 to 1.0" in str(run(app, ["info", str(bag), "--tolerance", "3"]).exception)


def test_the_reader_can_be_asked_what_it_left_out(tmp_path):
    with FrameReader(bag_of(tmp_path, depth=shifted(25)), needs=("depth",)) as reader, pytest.warns(BagWarning):
        assert not list(reader) and reader.dropped == {"no depth": FRAMES}
        (line,) = reader.told()
    assert line.startswith("12 images left out, no depth: camera 'camera': no depth within 0.02 s")
