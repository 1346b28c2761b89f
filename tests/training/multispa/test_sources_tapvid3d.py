import pickle

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_training.multispa.sources import open_sources
from spatial_mllm_training.multispa.sources.tapvid3d import TapVid3dRef

from ...geometry.room import HEIGHT, WIDTH, K
from ..source_files import picture, tapvid3d_arrays


def opened(path):
    return TapVid3dRef(path, "video").open()


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


def test_a_video_comes_back_exactly(tmp_path):
    arrays, poses, world = tapvid3d_arrays()
    scene = opened(saved(tmp_path / "tapvid3d_1.npz", arrays))
    assert (scene.source, len(scene.frames), set(scene.lacks)) == ("tapvid3d", 6, {"depth", "things"})
    assert [frame.stamp_ns for frame in scene.frames] == [round(i * 1e9 / 30) for i in range(6)]
    tracks = scene.tracks()
    np.testing.assert_allclose(tracks.points, world, atol=1e-12)
    for i, frame in enumerate(scene.frames):
        np.testing.assert_allclose(frame.world_from_camera, poses[i], atol=1e-12)
        np.testing.assert_array_equal(frame.camera.intrinsics, K)  # 28, 21 from the corner: 27.5, 20.5 from the centre
        stored = np.frombuffer(arrays["images_jpeg_bytes"][i], np.uint8)
        np.testing.assert_array_equal(frame.image, cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])
        assert np.abs(frame.image.astype(int) - picture(i)).mean() < 3 and frame.depth is None
        x, y, z = arrays["tracks_XYZ"][i].T
        front = z > 0
        np.testing.assert_allclose(tracks.pixels[i, front, 0], (40 * x / z + 27.5)[front])
        np.testing.assert_allclose(tracks.pixels[i, front, 1], (40 * y / z + 20.5)[front])
        assert np.isnan(tracks.pixels[i, ~front]).all()
        u, v = np.floor(40 * x / z + 28), np.floor(40 * y / z + 21)
        inside = front & (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
        np.testing.assert_array_equal(tracks.visible[i], arrays["visibility"][i] & inside)
    assert tracks.visible.any() and tracks.bodies is None and tracks.visible.dtype == bool


def test_points_without_a_place_are_not_visible(tmp_path):
    arrays, _, _ = tapvid3d_arrays()
    arrays["visibility"][:] = True
    arrays["tracks_XYZ"][2, :10] = np.nan
    tracks = opened(saved(tmp_path / "a.npz", arrays)).tracks()
    assert not tracks.visible[2, :10].any() and np.isnan(tracks.points[2, :10]).all()
    assert np.isfinite(tracks.points[3]).all()


def test_frames_with_bad_poses_are_left_out_with_their_points(tmp_path):
    arrays, _, world = tapvid3d_arrays()
    arrays["extrinsics_w2c"][1] = np.nan
    arrays["extrinsics_w2c"][4, :3] *= 2
    scene = opened(saved(tmp_path / "a.npz", arrays))
    assert scene.dropped == {"a pose that is not rigid": 2}
    assert [round(frame.stamp_ns * 30e-9) for frame in scene.frames] == [0, 2, 3, 5]
    np.testing.assert_allclose(scene.tracks().points, world[[0, 2, 3, 5]], atol=1e-12)
    arrays["extrinsics_w2c"][1:] = np.nan
    scene = opened(saved(tmp_path / "b.npz", arrays))
    assert scene.tracks is None and scene.missing(["pose"]) and "not rigid" in scene.lacks["tracks"]
    assert len(scene.frames) == 6 and scene.frames[3].image is not None


def test_without_extrinsics_only_still_cameras_have_tracks(tmp_path):
    arrays, _, _ = tapvid3d_arrays(extrinsics=False)
    scene = opened(saved(tmp_path / "Apartment_release_meal_seq136_8.npz", arrays))
    assert scene.lacks["pose"] == "its camera moves, and there is no extrinsics_w2c"
    assert scene.tracks is None and "extrinsics_w2c" in scene.lacks["tracks"]
    still = opened(saved(tmp_path / "basketball_5.npz", arrays))
    assert not still.missing(["pose", "tracks"])
    np.testing.assert_array_equal(still.tracks().points, arrays["tracks_XYZ"])


def changed(**values):
    def change(arrays):
        arrays.update(values)
        for name in [name for name, value in values.items() if value is None]:
            del arrays[name]

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (changed(images_jpeg_bytes=None), "has no images_jpeg_bytes"),
        (changed(tracks_XYZ=None, visibility=None), "has no tracks_XYZ, visibility"),
        (changed(images_jpeg_bytes=np.zeros((6, 4, 4, 3), np.uint8)), "one JPEG of bytes a frame"),
        (changed(images_jpeg_bytes=np.zeros(0, "S4")), "at least one"),
        (changed(images_jpeg_bytes=np.array([b"x"] * 6)), "none of the images"),
        (changed(images_jpeg_bytes=np.array([b"x", None], object)), "holds Python objects"),
        (changed(tracks_XYZ=np.zeros((5, 20, 3))), r"tracks_XYZ of shape \(5, 20, 3\), expected \(6, 20, 3\)"),
        (changed(tracks_XYZ=np.zeros((6, 20, 2))), "tracks_XYZ of shape"),
        (changed(tracks_XYZ=np.zeros(6)), "tracks_XYZ of shape"),
        (changed(tracks_XYZ=np.full((6, 20, 3), "a")), "expected numbers"),
        (changed(visibility=np.zeros((6, 19), bool)), "visibility of shape"),
        (changed(fx_fy_cx_cy=np.zeros(3)), "fx_fy_cx_cy of shape"),
        (changed(fx_fy_cx_cy=np.zeros(4)), "fx and fy positive"),
        (changed(extrinsics_w2c=np.zeros((6, 3, 4))), "extrinsics_w2c of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path, change, message):
    arrays, _, _ = tapvid3d_arrays()
    change(arrays)
    with pytest.raises(SpatialError, match=message) as caught:
        opened(saved(tmp_path / "a.npz", arrays))
    assert caught.value.code == ErrorCode.BAD_REQUEST and str(tmp_path) not in caught.value.message


def test_pickles_are_never_run(tmp_path):
    ran = []

    class Trap:
        def __reduce__(self):
            return ran.append, (1,)

    arrays, _, _ = tapvid3d_arrays()
    saved(tmp_path / "a.npz", arrays | {"visibility": np.array([Trap()], object)})
    with pytest.raises(SpatialError, match="Python objects"):
        opened(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(SpatialError, match="is damaged"):
        opened(tmp_path / "b.npz")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_cut_files_are_damaged(tmp_path, keep):
    data = saved(tmp_path / "a.npz", tapvid3d_arrays()[0]).read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    (ref,) = open_sources([str(tmp_path)])  # listed, so that it is told about
    with pytest.raises(SpatialError, match=r"a\.npz is damaged"):
        ref.open()


def test_flipped_bytes_are_damage(tmp_path):
    data = bytearray(saved(tmp_path / "a.npz", tapvid3d_arrays()[0]).read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(SpatialError, match=r"a\.npz is damaged"):
        opened(tmp_path / "a.npz")


def test_broken_images_are_told_when_they_are_decoded(tmp_path):
    arrays, _, _ = tapvid3d_arrays()
    images = arrays["images_jpeg_bytes"].tolist()
    images[0] = images[0][:200]
    images[2] = cv2.imencode(".jpg", picture(2)[:-2])[1].tobytes()
    arrays["images_jpeg_bytes"] = np.array(images)
    frames = opened(saved(tmp_path / "a.npz", arrays)).frames
    with pytest.raises(BadMessage):
        _ = frames[0].image
    with pytest.raises(BadMessage, match="image 2 is 56x40: the others are 56x42"):
        _ = frames[2].image
    assert frames[1].image.shape == (HEIGHT, WIDTH, 3)


def test_key_is_that_of_the_content(tmp_path):
    arrays, _, _ = tapvid3d_arrays()
    (tmp_path / "b").mkdir()
    first, second = saved(tmp_path / "a.npz", arrays), saved(tmp_path / "b" / "c.npz", arrays)
    assert opened(first).key == opened(second).key
    arrays["tracks_XYZ"][0, 0, 0] += 1e-6
    assert opened(saved(tmp_path / "d.npz", arrays)).key != opened(first).key
