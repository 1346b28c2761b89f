"""Options that cannot be: refused before anything is published, in words that say what would do."""

import pytest

from spatial_mllm_ros.recordings import BagError, Recording
from spatial_mllm_ros.recordings.play import PlayOptions

from ..recordings import rgbd, write

NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (PlayOptions(rate=0), r"rate 0: expected 0.001 to 1,000,000"),
        (PlayOptions(rate=NAN), r"rate nan: expected 0.001 to 1,000,000"),
        (PlayOptions(start=-1), r"start -1: expected seconds, not below 0"),
        (PlayOptions(duration=NAN), r"duration nan: expected seconds, not below 0"),
        (PlayOptions(duration=float("inf")), r"duration inf: expected seconds"),
        (PlayOptions(wait=-1), r"wait -1: expected seconds, 0 not to wait, inf to wait for ever"),
        (PlayOptions(wait=NAN), r"wait nan: expected seconds"),
    ],
)
def test_numbers_out_of_range(options, text):
    with pytest.raises(BagError, match=text):
        options.check()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (PlayOptions(topics=["/tff"]), r"has no topic /tff; topics in r: /camera/color/camera_info"),
        (PlayOptions(wait_for=["/tff"]), r"has no topic /tff; "),
        (PlayOptions(remap=["/camera/colour:=/x"]), r"has no topic /camera/colour; topics in r: /camera/color"),
        (PlayOptions(remap=["/tf=/x"]), r"remap '/tf=/x': expected OLD:=NEW"),
        (PlayOptions(start=1.0), r"start 1 s: r is only 0.97 s long"),
    ],
)
def test_what_the_recording_lacks(tmp_path, options, text):
    with (
        Recording(write(tmp_path, rgbd(30), "mcap")) as recording,
        pytest.raises(BagError, match=text),
    ):
        options.check_with(recording)


@pytest.mark.parametrize(
    "options",
    [
        PlayOptions(),
        PlayOptions(start=0.96, duration=5.0, wait=float("inf"), rate=0.001),
        PlayOptions(remap=["/tf_static:=tf_static", "/clock:=clock", "camera/color/image_raw:=/x"]),  # relative, too
    ],
)
def test_what_can_be(tmp_path, options):
    options.check()
    with Recording(write(tmp_path, rgbd(30, poses=""), "mcap")) as recording:
        options.check_with(recording)
