import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.geometry.cameras import project, unproject
from spatial_mllm_training.multispa.sources import open_sources
from spatial_mllm_training.multispa.sources.rgbd_folder import TOLERANCE, RgbdFolderRef, mutual_nearest

from ...geometry.room import HEIGHT, WIDTH, K, walk
from ..source_files import matrix_text, picture, write_image, write_seven_scenes, write_text, write_tum


def opened(folder):
    (ref,) = open_sources([str(folder)])
    return ref.open()


def test_seven_scenes_come_back_exactly(tmp_path):
    folder = tmp_path / "redkitchen" / "seq-03"
    poses, raw = write_seven_scenes(folder, 7)
    scene = opened(tmp_path)
    assert (scene.name, scene.source, scene.dropped) == ("redkitchen.seq-03", "rgbd_folder", {})
    assert set(scene.lacks) == {"things", "tracks"}
    assert [frame.stamp_ns for frame in scene.frames] == [round(i * 1e9 / 30) for i in range(7)]
    for i in (6, 0, 4):
        frame = scene.frames[i]
        np.testing.assert_array_equal(frame.world_from_camera, poses[i])
        np.testing.assert_array_equal(frame.depth, raw[i] * np.float32(0.001))  # 65535 is no reading
        np.testing.assert_array_equal(frame.image, picture(i))
        np.testing.assert_array_equal(frame.camera.intrinsics, K)
        assert frame.depth.dtype == np.float32 and frame.depth[3, 5] == 0


def test_tum_comes_back_exactly(tmp_path):
    poses, raw, stamps = write_tum(tmp_path / "rgbd_dataset_freiburg2_desk", 7)
    scene = opened(tmp_path)
    assert (scene.name, scene.source, scene.dropped) == ("rgbd_dataset_freiburg2_desk", "rgbd_folder", {})
    assert [frame.stamp_ns for frame in scene.frames] == stamps
    for i in (6, 0, 4):
        frame = scene.frames[i]
        np.testing.assert_allclose(frame.world_from_camera, poses[i], atol=1e-14)
        np.testing.assert_array_equal(np.round(frame.depth * 5000.0), raw[i])
        np.testing.assert_allclose(frame.depth, raw[i] / 5000, rtol=2e-7)
        np.testing.assert_array_equal(frame.image, picture(i))
        np.testing.assert_array_equal(frame.camera.intrinsics, K)


@pytest.mark.parametrize("late", [20_000_000, -20_000_000, 16_000_000, 0])
def test_depth_belongs_to_the_colour_that_is_nearest(tmp_path, late):
    """Colours are 33.333 ms apart: depth that comes 20 ms after one comes 13 ms before the next."""
    _, raw, _ = write_tum(tmp_path / "freiburg1", 5, depth_late=late)
    scene = opened(tmp_path)
    if abs(late) < 33_333_000 / 2:
        pairs = [(i, i) for i in range(5)]
    elif late > 0:
        pairs = [(i + 1, i) for i in range(4)]
    else:
        pairs = [(i, i + 1) for i in range(4)]
    assert len(scene.frames) == len(pairs)
    for frame, (_, depth) in zip(scene.frames, pairs):
        np.testing.assert_array_equal(np.round(frame.depth * 5000.0), raw[depth])


def partners(times, others):
    """As :func:`mutual_nearest` should find them, one by one."""
    out = []
    for time in times:
        there = min(range(len(others)), key=lambda j: (abs(others[j] - time), j), default=-1)
        back = min(range(len(times)), key=lambda i: (abs(times[i] - others[there]), i)) if others else -1
        fits = others and times[back] == time and abs(others[there] - time) <= TOLERANCE
        out.append(there if fits else -1)
    return out


MOMENTS = st.lists(st.integers(0, 40), max_size=8, unique=True).map(
    lambda times: [5_000_000 * t for t in sorted(times)]
)


@given(MOMENTS, MOMENTS)
def test_partners_are_those_of_the_plain_search(times, others):
    found = mutual_nearest(np.array(times, np.int64), np.array(others, np.int64))
    assert found.tolist() == partners(times, others)


def test_far_times_are_no_partners(tmp_path):
    _, _, stamps = write_tum(tmp_path / "tum", 5)
    depth = tmp_path / "tum/depth.txt"
    lines = depth.read_text().splitlines()
    depth.write_text("\n".join([*lines[:3], *lines[4:]]))
    truth = tmp_path / "tum/groundtruth.txt"
    lines = truth.read_text().splitlines()
    truth.write_text("\n".join([*lines[:1], *lines[2:]]))
    scene = opened(tmp_path)
    assert [frame.stamp_ns for frame in scene.frames] == [stamps[1], stamps[3], stamps[4]]
    assert scene.dropped == {"no depth": 1, "no pose": 1}


def test_poses_between_two_times_are_interpolated(tmp_path):
    write_tum(tmp_path / "tum", 3)
    lines = (tmp_path / "tum/rgb.txt").read_text().splitlines()
    start = 1305031102.175304
    truth = [f"{start + step} {step} 0 0 0 0 0 1" for step in (-0.01, 0.005, 0.03, 0.04, 0.07)]
    write_text(tmp_path / "tum/groundtruth.txt", "\n".join(truth))
    scene = opened(tmp_path)
    assert len(lines) == 4 and len(scene.frames) == 3
    at = [frame.world_from_camera[0, 3] for frame in scene.frames]
    np.testing.assert_allclose(at, [0, 0.033333, 0.066666 + (0.07 - 0.066666)], atol=1e-6)


def test_the_published_cameras(tmp_path):
    """Numbers of the web pages of both data sets."""
    black, far = np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 5000, np.uint16)
    seven = tmp_path / "chess/seq-01"
    for i in range(2):
        write_image(seven / f"frame-{i:06d}.color.png", black)
        write_image(seven / f"frame-{i:06d}.depth.png", far)
        write_text(seven / f"frame-{i:06d}.pose.txt", matrix_text(walk(2)[i]))
    camera = opened(seven).frames[0].camera
    assert camera.intrinsics.tolist() == [[585, 0, 320], [0, 585, 240], [0, 0, 1]] and not camera.distortion.size
    expected = {1: (517.3, 516.5, 318.6, 255.3), 2: (520.9, 521.0, 325.1, 249.7), 3: (535.4, 539.2, 320.1, 247.6)}
    for number, values in expected.items():
        folder = tmp_path / f"rgbd_dataset_freiburg{number}_xyz"
        write_image(folder / "rgb/a.png", black)
        write_image(folder / "depth/a.png", far)
        write_text(folder / "rgb.txt", "1.5 rgb/a.png\n")
        write_text(folder / "depth.txt", "1.5 depth/a.png\n")
        frame = opened(folder).frames[0]
        k = frame.camera.intrinsics
        assert (k[0, 0], k[1, 1], k[0, 2], k[1, 2]) == values and frame.depth[0, 0] == 1
        pixels = np.array([[0, 0], [639, 479], [100, 400.0]])
        back, _ = project(frame.camera, unproject(frame.camera, pixels, np.ones(3)))
        np.testing.assert_allclose(back, pixels, atol=1e-6)
        assert bool(frame.camera.distortion.any()) == (number < 3)


def test_an_unknown_camera_is_an_error_that_says_what_to_do(tmp_path):
    write_tum(tmp_path / "my_desk", 2)
    (tmp_path / "my_desk/intrinsics.txt").unlink()
    with pytest.raises(SpatialError, match=r"freiburg1 to 3: write its fx fy cx cy to camera.txt"):
        opened(tmp_path)
    (tmp_path / "my_desk").rename(tmp_path / "my_freiburg3_desk")
    with pytest.raises(SpatialError, match="is of 56x42, its published camera of 640x480"):
        opened(tmp_path)
    for text in (
        "40 0 27.5 0 40 20.5 0 0 1",
        matrix_text(np.pad(K, (0, 1)) + np.diag([0, 0, 0, 1])),
        "40 40 27.5 20.5",
    ):
        write_text(tmp_path / "camera.txt", text)
        np.testing.assert_array_equal(opened(tmp_path / "my_freiburg3_desk").frames[0].camera.intrinsics, K)
    write_text(tmp_path / "my_freiburg3_desk/camera.txt", "forty")
    with pytest.raises(SpatialError, match=r"camera\.txt holds 0 numbers"):
        opened(tmp_path)


def test_depth_of_another_size(tmp_path):
    _, raw = write_seven_scenes(tmp_path / "a", 3)
    for i in range(3):
        write_image(tmp_path / f"a/frame-{i:06d}.color.png", picture(i, 2))
    write_text(tmp_path / "a/camera.txt", "80 80 55.5 41.5")
    frame = opened(tmp_path).frames[2]
    np.testing.assert_allclose(frame.camera.intrinsics, K, atol=1e-12)
    np.testing.assert_array_equal(frame.depth, raw[2] * np.float32(0.001))
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    for i in range(3):
        write_image(tmp_path / f"a/frame-{i:06d}.color.png", picture(i, 2)[:, :80])
    with pytest.raises(SpatialError, match="depth of 56x42, colour of 80x84"):
        opened(tmp_path)


def test_poses_that_are_none(tmp_path):
    write_seven_scenes(tmp_path / "seq-01", 4)
    write_text(tmp_path / "seq-01/frame-000001.pose.txt", matrix_text(np.diag([1, 1, -1.0, 1])))  # a mirror
    write_text(tmp_path / "seq-01/frame-000002.pose.txt", "1 2 3")
    assert opened(tmp_path).dropped == {"a pose that is not rigid": 2}
    (tmp_path / "seq-01/frame-000003.pose.txt").unlink()
    scene = opened(tmp_path)
    assert scene.lacks["pose"].startswith("1 of 4 frames can be used") and len(scene.frames) == 4
    write_tum(tmp_path / "freiburg", 3, quaternions=np.zeros((3, 4)))
    assert "3 with a pose that is not rigid" in opened(tmp_path / "freiburg").lacks["pose"]
    (tmp_path / "freiburg/groundtruth.txt").unlink()
    assert "3 with no pose" in opened(tmp_path / "freiburg").lacks["pose"]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("rgb.txt", "# nothing\n", "rgb.txt names none"),
        ("rgb.txt", "yesterday rgb/a.png\n", "does not begin with a time"),
        ("rgb.txt", "1e400 rgb/a.png\n", "does not begin with a time"),
        ("depth.txt", "nan depth/a.png\n", "does not begin with a time"),
        ("depth.txt", "1.5\n", "not of 2 words"),
        ("groundtruth.txt", "1.5 1 2 3\n", "not of 8 words"),
        ("rgb.txt", "1.5 rgb/missing.png\n", "none of its images can be read"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, name, text, message):
    write_tum(tmp_path / "freiburg", 2)
    write_text(tmp_path / "freiburg" / name, text)
    with pytest.raises(SpatialError, match=message) as caught:
        opened(tmp_path)
    assert caught.value.code == ErrorCode.BAD_REQUEST


def test_broken_images_are_told_when_they_are_decoded(tmp_path):
    write_seven_scenes(tmp_path / "seq-01", 3)
    write_tum(tmp_path / "freiburg", 3)
    files = [tmp_path / "seq-01/frame-000001.color.png", *sorted((tmp_path / "freiburg/depth").iterdir())[1:2]]
    for file in files:
        file.write_bytes(file.read_bytes()[:-40])
    freiburg, seven = (ref.open() for ref in open_sources([str(tmp_path)]))
    with pytest.raises(BadMessage):
        _ = seven.frames[1].image
    with pytest.raises(BadMessage):
        _ = freiburg.frames[1].depth
    assert seven.frames[1].depth is not None and freiburg.frames[1].image is not None


def test_a_folder_without_frames(tmp_path):
    with pytest.raises(SpatialError, match="expected frame-000000"):
        RgbdFolderRef(tmp_path, "empty").open()


@pytest.mark.parametrize("write, pose", [(write_seven_scenes, "frame-000001.pose.txt"), (write_tum, "groundtruth.txt")])
def test_key_is_that_of_the_content(tmp_path, write, pose):
    write(tmp_path / "one" / "freiburg")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    key = opened(tmp_path / "one").key
    assert opened(tmp_path / "two").key == key
    text = (tmp_path / "two/freiburg" / pose).read_text()
    write_text(tmp_path / "two/freiburg" / pose, text.replace("1", "2", 1))
    assert opened(tmp_path / "two").key != key
