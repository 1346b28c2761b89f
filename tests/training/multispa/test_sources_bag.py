import numpy as np
import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.cameras import back_project, project
from spatial_mllm_ros.geometry.poses import inverse, is_rigid, transform
from spatial_mllm_ros.recordings import read_any
from spatial_mllm_training.multispa.sources import open_sources
from spatial_mllm_training.multispa.sources.bag import THINNED, BagRef, thinned

from ...geometry.room import HEIGHT, START_NS, STEP_NS, WIDTH, K
from ..source_files import picture, write_bag


def opened(path):
    return BagRef(path, "room").open()


def test_a_bag_comes_back_exactly(tmp_path):
    poses, raw = write_bag(tmp_path / "room.mcap")
    scene = opened(tmp_path / "room.mcap")
    assert (scene.name, scene.source, len(scene.frames), scene.dropped) == ("room", "bag", 6, {})
    assert set(scene.lacks) == {"things", "tracks"}
    assert [frame.stamp_ns for frame in scene.frames] == [START_NS + i * STEP_NS for i in range(6)]
    for i in (5, 0, 3):
        frame = scene.frames[i]
        np.testing.assert_allclose(frame.world_from_camera, poses[i], atol=1e-12)
        np.testing.assert_array_equal(frame.depth, raw[i] * np.float32(0.001))
        np.testing.assert_array_equal(frame.image, picture(i))
        np.testing.assert_array_equal(frame.camera.intrinsics, K)
        frame.release()


@pytest.mark.parametrize("scale", [2, 3])
def test_colour_comes_to_the_pixels_of_depth(tmp_path, scale):
    _, raw = write_bag(tmp_path / "room.mcap", 3, color_scale=scale)
    frame = opened(tmp_path / "room.mcap").frames[2]
    np.testing.assert_array_equal(frame.depth, raw[2] * np.float32(0.001))
    assert frame.image.shape == (HEIGHT, WIDTH, 3) and (frame.camera.width, frame.camera.height) == (WIDTH, HEIGHT)
    np.testing.assert_allclose(frame.camera.intrinsics, K, atol=1e-12)
    means = picture(2, scale).reshape(HEIGHT, scale, WIDTH, scale, 3).mean(axis=(1, 3))
    assert np.abs(frame.image - means).max() <= 0.5 + 1e-9
    image, depth = frame.image, frame.depth
    frame.release()
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    assert not np.shares_memory(image, frame.image) and not np.shares_memory(depth, frame.depth)


def test_depth_of_another_shape_is_refused(tmp_path):
    write_bag(tmp_path / "room.mcap", depth_shape=(HEIGHT, HEIGHT))
    with pytest.raises(SpatialError, match="6 with depth size") as caught:
        opened(tmp_path / "room.mcap")
    assert caught.value.code == ErrorCode.BAD_REQUEST


def test_what_a_bag_lacks_is_said(tmp_path):
    write_bag(tmp_path / "color.mcap", depth=False)
    write_bag(tmp_path / "still.mcap", posed=False)
    color, still = opened(tmp_path / "color.mcap"), opened(tmp_path / "still.mcap")
    assert color.lacks["depth"] == "0 of 6 frames can be used, at least 1 expected, 6 with no depth"
    assert len(color.frames) == 6 and "pose" not in color.lacks
    assert still.lacks["pose"] == "0 of 6 frames can be used, at least 2 expected, 6 with no pose"
    assert len(still.frames) == 6 and still.missing(["depth"]) == "" and still.missing(["depth", "pose"])
    assert still.frames[0].depth is not None and still.frames[0].world_from_camera is None


def test_poses_that_are_no_rotations_are_no_poses(tmp_path):
    write_bag(tmp_path / "room.mcap", posed=5.0)
    scene = opened(tmp_path / "room.mcap")
    assert scene.missing(["pose"]) and all(frame.world_from_camera is None for frame in scene.frames)


def test_no_recording_is_an_error(tmp_path):
    (tmp_path / "cut.mcap").write_bytes(b"\x89MCAP0\r\n")
    (tmp_path / "other.mcap").write_bytes(b"no bag")
    for name in ("cut.mcap", "other.mcap", "missing.mcap"):
        with pytest.raises(SpatialError) as caught:
            opened(tmp_path / name)
        assert caught.value.code == ErrorCode.BAD_REQUEST


def test_key_is_that_of_the_content(tmp_path):
    write_bag(tmp_path / "a.mcap")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mcap").write_bytes((tmp_path / "a.mcap").read_bytes())
    write_bag(tmp_path / "c.mcap", 5)
    a, b, c = (opened(tmp_path / name).key for name in ("a.mcap", "elsewhere/b.mcap", "c.mcap"))
    assert a == b != c


def blank(name, stamp, size):
    camera = Camera(name, name, size, size, np.eye(3))
    return Frame(stamp, camera, image=np.zeros((size, size, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_long_recordings_are_thinned_evenly_and_bounded(count):
    dropped, most = {}, 8 * 300
    frames = [blank(name, stamp, 10) for stamp in range(count) for name in ("left", "right")]
    kept = thinned(frames, most, dropped)
    assert sum(frame.nbytes for frame in kept) <= most
    stamps = [frame.stamp_ns for frame in kept if frame.camera.name == "left"]
    assert stamps == [frame.stamp_ns for frame in kept if frame.camera.name == "right"]
    every = stamps[1] if len(stamps) > 1 else 1
    assert stamps == list(range(0, count, every)) and every in (1, 2, 4, 8, 16, 32)
    assert dropped == ({} if every == 1 else {THINNED: len(frames) - len(kept)})


def test_recorded_scenes(redkitchen, tum_cabinet):
    refs = open_sources([str(redkitchen), str(tum_cabinet)])
    assert [(ref.name, ref.source) for ref in refs] == [("redkitchen_300", "bag"), ("tum_cabinet_56", "bag")]
    for ref, path, count in zip(refs, (redkitchen, tum_cabinet), (300, 56)):
        scene = ref.open()
        assert len(scene.frames) == count and not scene.dropped and not scene.missing(["depth", "pose"])
        assert all(is_rigid(frame.world_from_camera) for frame in scene.frames)
        assert sum(frame.nbytes for frame in scene.frames) < 40e6
        for i, raw in enumerate(read_any(path)):
            if i % 29 == 0:
                np.testing.assert_array_equal(scene.frames[i].depth, raw.depth)
                np.testing.assert_array_equal(scene.frames[i].image, raw.image)
                assert scene.frames[i].stamp_ns == raw.stamp_ns
                scene.frames[i].release()


@pytest.mark.parametrize("name, apart, limit", [("redkitchen", 10, 0.008), ("tum_cabinet", 1, 0.02)])
def test_recorded_depth_poses_and_cameras_agree(request, name, apart, limit):
    """Depth of one frame seen from a later one is the depth there, within 4 and 13 mm as the recordings' notes say."""
    scene = BagRef(request.getfixturevalue(name), name).open()
    medians = []
    for i in range(0, 54, 4):
        first, second = scene.frames[i], scene.frames[i + apart]
        points = transform(first.world_from_camera, back_project(first.camera, first.depth)[::4, ::4].reshape(-1, 3))
        seen = transform(inverse(second.world_from_camera), points)
        pixels, inside = project(second.camera, seen)
        u, v = np.round(pixels[inside]).astype(int).T
        there = second.depth[v, u]
        away = np.abs(seen[inside, 2] - there)[there > 0]
        assert len(away) > 2000
        medians.append(np.median(away))
    assert np.median(medians) < limit
