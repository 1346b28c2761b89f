import json
import shutil

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.geometry.cameras import back_project
from spatial_mllm_ros.geometry.poses import transform
from spatial_mllm_training.multispa.sources import open_sources
from spatial_mllm_training.multispa.sources.stored import reading

from ...geometry.room import HEIGHT, WIDTH, K
from ..source_files import matrix_text, picture, write_image, write_scannet, write_text


@pytest.fixture
def scan(tmp_path):
    return tmp_path / "scene0042_01"


def opened(folder):
    (ref,) = open_sources([str(folder)])
    return ref.open()


def test_a_scan_comes_back_exactly(scan):
    poses, raw = write_scannet(scan, 12)
    scene = opened(scan)
    assert (scene.name, scene.source) == ("scene0042_01", "scannet")
    assert [frame.stamp_ns for frame in scene.frames] == [round(i * 1e10 / 30) for i in range(12)]  # 10 frames apart
    assert set(scene.lacks) == {"things", "tracks"} and scene.dropped == {} and scene.world_up is None
    for i in (11, 2, 10, 0):
        frame = scene.frames[i]
        np.testing.assert_array_equal(frame.world_from_camera, poses[i])
        np.testing.assert_array_equal(frame.depth, raw[i] * np.float32(0.001))
        np.testing.assert_array_equal(frame.image, cv2.imread(str(scan / f"color/{i * 10}.jpg"))[..., ::-1])
        assert np.abs(frame.image.astype(int) - picture(i)).mean() < 3  # JPEG
        assert frame.nbytes == 0
        frame.release()
    assert len({id(frame.camera) for frame in scene.frames}) == 1
    np.testing.assert_array_equal(scene.frames[0].camera.intrinsics, K)


def test_depth_keeps_its_pixels_where_colour_is_larger(scan):
    _, raw = write_scannet(scan, 2, scale=3)
    frame = opened(scan).frames[1]
    np.testing.assert_array_equal(frame.depth, raw[1] * np.float32(0.001))
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(frame.camera.intrinsics, K)
    assert np.abs(frame.image - picture(1, 3).reshape(HEIGHT, 3, WIDTH, 3, 3).mean(axis=(1, 3))).mean() < 3


def test_colour_of_another_shape_is_refused(scan):
    write_scannet(scan, 2)
    for i in (0, 10):
        write_image(scan / f"color/{i}.jpg", picture(i)[:, :HEIGHT])
    with pytest.raises(SpatialError, match="depth of 56x42, colour of 42x42: shapes must agree"):
        opened(scan)


def test_lost_poses_are_left_out_and_counted(scan):
    poses, _ = write_scannet(scan, 8)
    write_text(scan / "pose/10.txt", matrix_text(np.full((4, 4), -np.inf)))
    write_text(scan / "pose/30.txt", matrix_text(poses[3] * [[1.1], [1.1], [1.1], [1]]))
    write_text(scan / "pose/50.txt", "not a pose")
    (scan / "pose/60.txt").unlink()
    (scan / "depth/70.png").unlink()
    scene = opened(scan)
    assert [round(frame.stamp_ns * 3e-9) for frame in scene.frames] == [0, 2, 4]
    assert scene.dropped == {"a pose that is not rigid": 3, "no pose": 1, "no depth": 1}
    assert not scene.missing(["depth", "pose"])


def test_too_few_poses_are_none(scan):
    write_scannet(scan, 3)
    for i in (0, 20):
        write_text(scan / f"pose/{i}.txt", matrix_text(np.full((4, 4), -np.inf)))
    scene = opened(scan)
    assert scene.lacks["pose"] == "1 of 3 frames can be used, at least 2 expected, 2 with a pose that is not rigid"
    assert len(scene.frames) == 3 and all(frame.world_from_camera is None for frame in scene.frames)
    assert scene.missing(["depth"]) == "" and scene.frames[0].depth is not None


def test_without_depth_the_camera_is_that_of_colour(scan):
    write_scannet(scan, 3, scale=2)
    shutil.rmtree(scan / "depth")
    scene = opened(scan)
    assert scene.missing(["depth"]) and not scene.missing(["pose"])
    assert scene.frames[0].image.shape == (2 * HEIGHT, 2 * WIDTH, 3) and scene.frames[0].depth is None
    np.testing.assert_allclose(scene.frames[0].camera.intrinsics, scene.frames[0].camera.resized(112, 84).intrinsics)
    assert scene.frames[0].camera.intrinsics[0, 2] == 55.5


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda scan: (scan / "intrinsic/intrinsic_depth.txt").unlink(), "no intrinsic/intrinsic_depth.txt"),
        (lambda scan: write_text(scan / "intrinsic/intrinsic_depth.txt", "1 2 3"), "holds 3 numbers"),
        (lambda scan: write_text(scan / "intrinsic/intrinsic_depth.txt", "0 40 28 21"), "fx and fy positive"),
        (lambda scan: [file.unlink() for file in (scan / "color").iterdir()], "no image in color/"),
        (lambda scan: [file.write_bytes(b"x") for file in (scan / "color").iterdir()], "none of its images"),
        (lambda scan: write_text(scan / f"{scan.name}.txt", "axisAlignment = 1 2 3"), "axisAlignment"),
        (lambda scan: write_text(scan / f"{scan.name}.txt", "axisAlignment = " + "2 " * 16), "axisAlignment"),
    ],
)
def test_damage_is_told(scan, damage, message):
    write_scannet(scan, 2)
    damage(scan)
    with pytest.raises(SpatialError, match=message) as caught:
        opened(scan)
    assert caught.value.code == ErrorCode.BAD_REQUEST and str(scan) not in caught.value.message


def test_files_that_cannot_be_read_are_told(scan):
    write_scannet(scan, 2)
    (scan / f"{scan.name}.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpatialError, match="a text file of scene0042_01 is no text"):
        opened(scan)
    (scan / f"{scan.name}.txt").unlink()
    (scan / "pose/0.txt").write_bytes(b"\xff\xfe\x00")
    assert opened(scan).missing(["pose"])
    with pytest.raises(SpatialError, match="intrinsic of scan cannot be read"), reading("scan"):
        (scan / "intrinsic").read_text()


def test_broken_images_are_told_when_they_are_decoded(scan):
    write_scannet(scan, 5)
    for number in (0, 10):
        file = scan / f"color/{number}.jpg"
        file.write_bytes(file.read_bytes()[: 100 if number else 300])
        file = scan / f"depth/{number}.png"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 255
        file.write_bytes(data[:-12] if number else data)
    write_image(scan / "depth/20.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write_image(scan / "color/20.jpg", picture(2)[:-2])
    frames = opened(scan).frames
    (scan / "color/30.jpg").unlink()
    for i in range(3):
        for part in ("image", "depth"):
            with pytest.raises(BadMessage):
                getattr(frames[i], part)
    with pytest.raises(BadMessage, match=r"30.jpg cannot be read"):
        _ = frames[3].image
    assert frames[3].depth is not None and frames[4].image is not None


def write_objects(folder, scan_points, segments, objects, name):
    """Mesh, segments and groups as ScanNet publishes them."""
    table = np.zeros(
        len(scan_points),
        [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "u1")],
    )
    table["x"], table["y"], table["z"] = scan_points.T
    head = "ply\nformat binary_little_endian 1.0\ncomment VCGLIB generated\nelement vertex "
    head += f"{len(table)}\n"
    head += "".join(f"property float {axis}\n" for axis in "xyz")
    head += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue", "alpha"))
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    face = b"\x03" + np.arange(3, dtype="<i4").tobytes()
    (folder / f"{name}_vh_clean_2.ply").write_bytes(head.encode() + table.tobytes() + face)
    write_text(folder / f"{name}_vh_clean_2.0.010000.segs.json", json.dumps({"segIndices": segments}))
    groups = [{"id": i, "objectId": i, "segments": parts, "label": label} for i, (label, parts) in enumerate(objects)]
    write_text(folder / f"{name}.aggregation.json", json.dumps({"segGroups": groups}))


@pytest.mark.parametrize("above", [False, True])
def test_annotated_objects_have_boxes_in_the_aligned_world(scan, above):
    folder = scan / "exported" if above else scan
    poses, raw = write_scannet(folder, 2)
    aligned_from_scan = np.eye(4)
    aligned_from_scan[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    aligned_from_scan[:3, 3] = -1, 2, 0.5
    low, high = np.array([[0, 0, 0.0], [1, 2, 0.0], [2, 0, 1]]), np.array([[0.5, 0.4, 0.9], [3, 3, 0.8], [2.1, 0.1, 2]])
    random = np.random.default_rng(0)
    corners = [np.concatenate([random.uniform(a, b, (30, 3)), [a, b]]) for a, b in zip(low, high)]
    points = transform(np.linalg.inv(aligned_from_scan), np.concatenate([*corners, [[9, 9, 9]]]))
    segments = [7] * 20 + [8] * 12 + [3] * 32 + [4] * 32 + [1]
    write_objects(scan, points, segments, [("office chair", [8, 7]), ("table", [3]), ("wall", [4])], scan.name)
    line = " ".join(f"{value:.9f}" for value in aligned_from_scan.ravel())
    write_text(scan / f"{scan.name}.txt", f"appVersionId = 56\naxisAlignment = {line} \nfx_color = 1170\n")
    scene = opened(scan)
    assert scene.name == (f"{scan.name}.exported" if above else scan.name)
    assert not scene.missing(["things", "depth", "pose"])
    assert [(thing.name, thing.label, thing.moving) for thing in scene.things] == [
        ("0_office_chair", "office chair", False),
        ("1_table", "table", False),
    ]
    for i, thing in enumerate(scene.things):
        np.testing.assert_allclose(thing.size, high[i] - low[i], atol=1e-5)
        np.testing.assert_allclose(thing.world_from_thing[:3, 3], (low[i] + high[i]) / 2, atol=1e-5)
        np.testing.assert_array_equal(thing.world_from_thing[:3, :3], np.eye(3))
    np.testing.assert_array_equal(scene.world_up, [0, 0, 1])
    np.testing.assert_allclose(scene.frames[1].world_from_camera, aligned_from_scan @ poses[1], atol=1e-8)
    seen = back_project(scene.frames[1].camera, scene.frames[1].depth)[20, 30]
    np.testing.assert_allclose(seen[2], raw[1][20, 30] / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    "damage",
    [
        lambda scan: (scan / f"{scan.name}.aggregation.json").write_text("{"),
        lambda scan: (scan / f"{scan.name}.aggregation.json").write_text('{"segGroups": [1]}'),
        lambda scan: (scan / f"{scan.name}_vh_clean_2.0.010000.segs.json").write_text('{"segIndices": [1]}'),
        lambda scan: (scan / f"{scan.name}_vh_clean_2.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n"),
        lambda scan: (scan / f"{scan.name}_vh_clean_2.ply").write_bytes(
            (scan / f"{scan.name}_vh_clean_2.ply").read_bytes()[:-60]
        ),
    ],
)
def test_damaged_annotations_are_told(scan, damage):
    write_scannet(scan, 2)
    write_objects(scan, np.zeros((4, 3)), [1, 1, 2, 2], [("chair", [1])], scan.name)
    write_text(scan / f"{scan.name}.txt", f"axisAlignment = {' '.join(map(str, np.eye(4).ravel()))}")
    assert [thing.label for thing in opened(scan).things] == ["chair"]
    damage(scan)
    with pytest.raises(SpatialError, match=scan.name) as caught:
        opened(scan)
    assert caught.value.code == ErrorCode.BAD_REQUEST


def test_why_there_are_no_objects_is_said(scan):
    write_scannet(scan, 2)
    assert "aggregation.json" in opened(scan).lacks["things"]
    write_objects(scan, np.zeros((4, 3)), [1, 1, 2, 2], [("floor", [1])], scan.name)
    assert "axisAlignment" in opened(scan).lacks["things"]
    write_text(scan / f"{scan.name}.txt", f"axisAlignment = {' '.join(map(str, np.eye(4).ravel()))}")
    assert opened(scan).lacks["things"] == "no object of the scan is annotated"


def test_key_is_that_of_the_content(scan, tmp_path):
    write_scannet(scan, 3)
    key = opened(scan).key
    moved = tmp_path / "other" / "scene0000_00"
    shutil.copytree(scan, moved)
    assert opened(moved).key == key
    write_text(moved / "pose/20.txt", matrix_text(np.eye(4)))
    assert opened(moved).key != key
