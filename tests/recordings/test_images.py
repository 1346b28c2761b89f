"""Video files and folders of images as frames."""

import warnings

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.recordings import BagError, BagWarning, read_images, read_video
from spatial_mllm_ros.recordings.images import assumed_camera


def picture(i, size=(24, 32)):
    return np.full((*size, 3), 4 * i, np.uint8)


def folder(path, names):
    path.mkdir()
    for i, name in enumerate(names):
        cv2.imwrite(str(path / name), picture(i))
    return path


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", BagWarning)
        yield


def test_natural_order_at_a_steady_rate(tmp_path):
    frames = list(read_images(folder(tmp_path / "f", [f"img_{i}.png" for i in range(12)]), fps=10))
    assert [f.stamp_ns for f in frames] == [i * 100_000_000 for i in range(12)]
    assert [f.image[0, 0, 0] for f in frames] == [4 * i for i in range(12)]
    assert not frames[0].has_depth and frames[0].world_from_camera is None


def test_stamps_from_names(tmp_path):
    tum = folder(tmp_path / "tum", ["1305031102.175304.png", "1305031102.2.png", "1305031101.9.png"])
    assert [f.stamp_ns for f in read_images(tum)] == [1305031101900000000, 1305031102175304000, 1305031102200000000]
    euroc = folder(tmp_path / "euroc", ["1403636579813555456.png", "1403636579763555584.png"])
    assert [f.stamp_ns for f in read_images(euroc)] == [1403636579763555584, 1403636579813555456]
    mixed = folder(tmp_path / "mixed", ["1305031102.175304.png", "b.png"])
    assert [f.stamp_ns for f in read_images(mixed, fps=1)] == [0, 1_000_000_000]


def test_broken_images_are_left_out_and_counted(tmp_path):
    path = folder(tmp_path / "f", [f"{i}.jpg" for i in range(5)])
    data = (path / "1.jpg").read_bytes()
    (path / "1.jpg").write_bytes(data[: len(data) // 2])
    (path / "3.jpg").write_bytes(b"")
    (path / "notes.txt").write_text("not an image")
    with pytest.warns(BagWarning, match=r"2 of 5 images left out, cannot be read: the first is 1\.jpg"):
        frames = list(read_images(path, fps=1))
    assert [f.stamp_ns for f in frames] == [0, 2_000_000_000, 4_000_000_000]


def test_sizes_may_change(tmp_path):
    path = folder(tmp_path / "f", ["0.png"])
    cv2.imwrite(str(path / "1.png"), picture(1, (48, 32)))
    assert [(f.camera.width, f.camera.height) for f in read_images(path)] == [(32, 24), (32, 48)]


def test_assumed_camera_is_45_degrees_wide():
    camera = assumed_camera(640, 480)
    assert 2 * np.degrees(np.arctan(320 / camera.intrinsics[0, 0])) == pytest.approx(45.2, abs=0.1)
    assert tuple(camera.intrinsics[:2, 2]) == (319.5, 239.5)


def video(path, count=15, fps=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (32, 24))
    assert writer.isOpened()
    for i in range(count):
        writer.write(picture(i))
    writer.release()
    return path


def test_video(tmp_path):
    frames = list(read_video(video(tmp_path / "v.avi")))
    assert [f.stamp_ns for f in frames] == pytest.approx([i * 200_000_000 for i in range(15)], abs=2_000_000)
    assert [int(f.image.mean()) for f in frames] == pytest.approx([4 * i for i in range(15)], abs=2)
    assert frames[0].camera.width == 32


def test_video_cut_off(tmp_path):
    path = video(tmp_path / "v.avi", count=60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(BagWarning, match=r"\d+ of 60 images left out, cannot be decoded: v\.avi"):
        frames = list(read_video(path))
    assert 5 < len(frames) < 60


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: p.write_bytes(b"junk"), lambda p: None])
def test_neither_video_nor_images(tmp_path, make):
    path = tmp_path / "v.mp4"
    make(path)
    with pytest.raises(BagError, match=r"holds no images: expected a folder with \.jpg"):
        read_images(path)
    with pytest.raises(BagError, match="is no video that can be decoded"):
        read_video(path)
