"""What people write on the command line, as values of the library."""

import pytest

from spatial_mllm_ros.cli.parse import frames_range, image_size, picture_sizes, sources, targets
from spatial_mllm_ros.motion.targets import Target

START = 1_700_000_000_500_000_000


def start() -> int:
    return START


def test_targets_with_times_and_goals():
    regions = ["mug:front:1,2,30,40", "door::0,0,5.5,6@2.5", "cup:front:1,1,9,9@1700000001"]
    found = targets(regions, ["mug:1,2,3", "camera:0,0,-1"], start)
    assert found == [
        Target("mug", "front", (1, 2, 30, 40), 0, (1, 2, 3)),
        Target("door", "", (0, 0, 5.5, 6), START + 2_500_000_000),
        Target("cup", "front", (1, 1, 9, 9), 1_700_000_001_000_000_000),
        Target("camera", goal=(0, 0, -1)),
    ]
    assert targets(None, None, start) == []


@pytest.mark.parametrize("text", ["mug", "mug:front", "mug:front:1,2,3", "mug:front:1,2,3,x", "mug:front:1,2,3,4@soon"])
def test_wrong_target_says_what_would_be_right(text):
    with pytest.raises(ValueError, match="expected NAME:CAMERA:X,Y,W,H") as caught:
        targets([text], None, start)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize("text", ["camera", "camera:1,2", "camera:a,b,c"])
def test_wrong_goal_says_what_would_be_right(text):
    with pytest.raises(ValueError, match="expected NAME:X,Y,Z"):
        targets(None, [text], start)


def test_goal_without_its_target_is_named():
    with pytest.raises(ValueError, match="'mug'"):
        targets(["cup:front:1,2,30,40"], ["mug:1,2,3"], start)


def test_sources():
    pairs = ["image=/a", "pose=/p", "world_frame=map", "camera=front", "camera=rear", "depth="]
    assert sources(pairs) == {
        "image": "/a",
        "pose": "/p",
        "world_frame": "map",
        "cameras": ["front", "rear"],
        "depth": "",
    }
    assert sources(None) == {}


@pytest.mark.parametrize("text", ["image", "colour=/a", "=x"])
def test_wrong_source_lists_the_names(text):
    with pytest.raises(ValueError, match="camera_info"):
        sources([text])


def test_what_is_exported():
    assert frames_range("1:16:32") == (1, 16, 32)
    assert picture_sizes(["476x644", "112x140"]) == [(476, 644), (112, 140)] and picture_sizes(None) == []
    for text in ("16", "1:16", "1:16:32:64", "1:x:3", "-1:2:4"):
        with pytest.raises(ValueError, match="expected MIN:OPT:MAX, like 1:16:32"):
            frames_range(text)
    for text in ("476", "476x", "476,644", "0x1x2"):
        with pytest.raises(ValueError, match="expected height x width in pixels, like 476x644"):
            picture_sizes(["112x140", text])


def test_image_size():
    assert image_size("640x480") == (640, 480)
    for text in ("640", "640x", "x480", "640x480x3", "-1x5", "a x b"):
        with pytest.raises(ValueError, match="640x480"):
            image_size(text)
