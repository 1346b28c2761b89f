"""Folders of colour, depth and poses as exporters and editors leave them: names with zeros, byte-order marks, CRLF."""

import cv2
import numpy as np
import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_training.multispa.sources import open_sources

from ..geometry.room import depth_of
from ..training.source_files import matrix_text, write_image, write_scannet, write_seven_scenes, write_text, write_tum

COUNT = 6
BOM = b"\xef\xbb\xbf"


def opened(path):
    (ref,) = open_sources([str(path)])
    return ref.open()


def check(scene, poses, unit, kept=range(COUNT)):
    """Depth is the room's, ray by ray, and every frame has its own pose."""
    assert len(scene.frames) == len(kept) and not scene.missing(["depth", "pose"])
    for frame, i in zip(scene.frames, kept):
        np.testing.assert_allclose(frame.world_from_camera, poses[i], atol=1e-6)
        wrong = np.abs(frame.depth - depth_of(poses[i]))
        assert np.count_nonzero(wrong > unit / 2 + 1e-6) == 1, "one pixel has no reading"


def renamed(folder, digits):
    """Numbers with zeros in front, in all folders named here."""
    for kind, count in digits.items():
        for file in list((folder / kind).iterdir()):
            file.rename(file.with_name(f"{int(file.stem):0{count}d}{file.suffix}"))


@pytest.mark.parametrize(
    "digits",
    [
        {"color": 6, "depth": 6, "pose": 6},
        {"color": 5, "depth": 5, "pose": 5},
        {"pose": 6},
        {"color": 6, "depth": 4},
        {"color": 4, "pose": 6},
    ],
)
def test_scannet_with_zeros_before_its_numbers(tmp_path, digits):
    poses, _ = write_scannet(tmp_path / "scene0000_00", COUNT)
    renamed(tmp_path / "scene0000_00", digits)
    scene = opened(tmp_path)
    check(scene, poses, 0.001)
    assert [f.stamp_ns for f in scene.frames] == [round(i * 10 * 1e9 / 30) for i in range(COUNT)]


def test_scannet_of_which_some_poses_were_lost(tmp_path):
    poses, _ = write_scannet(tmp_path / "scene0000_00", COUNT)
    renamed(tmp_path / "scene0000_00", {"color": 6, "depth": 6, "pose": 6})
    for i in (1, 4):
        write_text(tmp_path / f"scene0000_00/pose/{i * 10:06d}.txt", matrix_text(np.full((4, 4), -np.inf)))
    scene = opened(tmp_path)
    check(scene, poses, 0.001, [0, 2, 3, 5])
    assert scene.dropped == {"a pose that is not rigid": 2}


def test_scannet_whose_colour_is_larger(tmp_path):
    poses, _ = write_scannet(tmp_path / "scene0000_00", COUNT, scale=3)
    renamed(tmp_path / "scene0000_00", {"color": 6, "depth": 6, "pose": 6})
    check(opened(tmp_path), poses, 0.001)


@pytest.mark.parametrize("suffix", ["JPG", "jpeg", "png"])
def test_scannet_with_other_endings(tmp_path, suffix):
    poses, _ = write_scannet(tmp_path / "scene0000_00", COUNT)
    for file in list((tmp_path / "scene0000_00/color").iterdir()):
        image = cv2.imread(str(file))
        file.unlink()
        write_image(file.with_suffix(f".{suffix}"), image)
    check(opened(tmp_path), poses, 0.001)


TEXTS = {
    "mark": lambda text: BOM + text,
    "crlf": lambda text: text.replace(b"\n", b"\r\n") + b"\r\n",
    "both": lambda text: BOM + text.replace(b"\n", b"\r\n\r\n"),
    "blank": lambda text: b"\n" + text.replace(b"\n", b"\n\n") + b"  \n",
    "spaces": lambda text: text.replace(b" ", b"\t  ").replace(b"\n", b"  \n"),
}


@pytest.mark.parametrize("how", TEXTS)
def test_texts_as_editors_save_them(tmp_path, how):
    scan, seven, tum = tmp_path / "scene0000_00", tmp_path / "office/seq-01", tmp_path / "mine"
    written = {scan: write_scannet(scan, COUNT), seven: write_seven_scenes(seven, COUNT), tum: write_tum(tum, COUNT)}
    for file in tmp_path.rglob("*.txt"):
        file.write_bytes(TEXTS[how](file.read_bytes()))
    for folder, (poses, *_) in written.items():
        check(opened(folder), poses, 1 / 5000 if folder == tum else 0.001)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("# time", "#time"),
        lambda text: text.replace("# time", "  # time"),
        lambda text: text.replace("# time", "timestamp"),
        lambda text: text[text.index("\n") + 1 :],
        lambda text: text.replace("# ", "#").replace(" ", ","),
        lambda text: text.replace(" ", ", "),
        lambda text: text.replace("/", "\\"),
    ],
    ids=["no space", "indented", "no sign", "no header", "commas", "commas and spaces", "other slashes"],
)
def test_lists_of_tum(tmp_path, change):
    poses, *_ = write_tum(tmp_path / "own_name", COUNT)
    for name in ("rgb.txt", "depth.txt", "groundtruth.txt"):
        file = tmp_path / "own_name" / name
        file.write_text(change(file.read_text()))
    check(opened(tmp_path), poses, 1 / 5000)


def test_seven_scenes_has_no_reading_at_65535(tmp_path):
    poses, raw = write_seven_scenes(tmp_path / "chess/seq-01", COUNT)
    check(opened(tmp_path), poses, 0.001)
    assert opened(tmp_path).frames[0].depth[3, 5] == 0 and raw[0][3, 5] == 0


def test_a_list_of_other_words_is_refused(tmp_path):
    write_tum(tmp_path / "own_name", COUNT)
    write_text(tmp_path / "own_name/rgb.txt", "time file\nyesterday rgb/a.png\n")
    with pytest.raises(SpatialError, match=r"rgb\.txt of own_name has a line that does not begin with a time"):
        opened(tmp_path)


def test_frames_of_depth_beside_colour_are_no_clip(tmp_path):
    """VSI-Bench beside posed images: what is asked about is the colour."""
    from spatial_mllm_training.benchmarks.suites import find_media

    folder = tmp_path / "posed_images/scene0000_00"
    for i in range(3):
        write_image(folder / f"{i:05d}.jpg", np.full((42, 56, 3), 90, np.uint8))
        write_image(folder / f"{i:05d}.png", np.full((42, 56), 1500, np.uint16))
    images, video = find_media(tmp_path, "scene0000_00")
    assert [image.name for image in images] == ["00000.jpg", "00001.jpg", "00002.jpg"] and video is None
