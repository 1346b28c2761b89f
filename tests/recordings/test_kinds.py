import os

import pytest

from spatial_mllm_ros.recordings import BagError, read_any
from spatial_mllm_ros.recordings.kinds import KINDS, kind_of

from .recordings import FORMATS, rgbd, write
from .test_images import folder, video

EXPECTED = r"expected a recording \(\.mcap, .*\), a folder of images or a video that can be decoded$"


@pytest.mark.parametrize("kind", FORMATS)
def test_any_recording(tmp_path, kind):
    path = write(tmp_path, rgbd(2), kind)
    assert kind_of(path) is KINDS[0]
    frames = list(read_any(path, image="/camera/color/image_raw", depth=""))
    assert len(frames) == 2 and not frames[0].has_depth


def test_a_folder_of_images(tmp_path):
    images = folder(tmp_path / "f", ["1.png", "0.png"])
    assert [int(f.image.mean()) for f in read_any(images)] == [4, 0]


def test_a_video(tmp_path):
    film = video(tmp_path / "v.avi").rename(tmp_path / "film")
    assert len(list(read_any(film))) == 15, "told by what it holds, not by its name"


def test_a_recording_among_images_is_a_recording(tmp_path):
    written = write(tmp_path, rgbd(2), "mcap")
    (written / "notes.png").touch()
    assert kind_of(written) is KINDS[0]


def test_what_is_none_of_them(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing").touch()
    (tmp_path / "junk.mp4").write_bytes(b"junk")
    os.mkfifo(tmp_path / "pipe")
    image = folder(tmp_path / "f", ["0.png"]) / "0.png"
    for path in (tmp_path / "empty", tmp_path / "nothing", tmp_path / "junk.mp4", tmp_path / "pipe", image):
        with pytest.raises(BagError, match=f"{path.name} cannot be read: {EXPECTED}"):
            read_any(path)
    with pytest.raises(BagError, match=f"gone does not exist: {EXPECTED}"):
        read_any(tmp_path / "gone", image="/eye")


def test_topics_of_what_has_none(tmp_path):
    with pytest.raises(BagError, match="is a folder of images, which has no topics: image, depth"):
        read_any(folder(tmp_path / "f", ["0.png"]), image="/eye", depth="/far", pose=None)
