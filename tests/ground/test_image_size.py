"""Images that are small as bytes and large as pixels: refused before they are decoded, or within their bounds."""

import tracemalloc
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.annotate import bag
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_ros.geometry.cameras import KEPT, ray_grid
from spatial_mllm_ros.geometry.registration import same_view
from spatial_mllm_ros.image_size import MOST_DEPTH, check_size
from spatial_mllm_ros.messages import color_pixels, depth_pixels
from spatial_mllm_ros.recordings.pictures import read_pixels

from . import sensor

JPEG = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


def black(width, height, dtype=np.uint8, form=".png"):
    return cv2.imencode(form, np.zeros((height, width), dtype))[1].tobytes()


def many_scans(count):
    """A progressive JPEG whose last scan comes ``count`` times."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    data = cv2.imencode(".jpg", image, JPEG)[1].tobytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - data.count(b"\xff\xda")) + data[-2:]


@pytest.mark.parametrize(
    "size, nbytes, fits",
    [
        ((0, 8), 100, False),
        ((16385, 1), 10**6, False),
        ((4096, 2048), 1, True),  # as large as any may be
        ((4096, 2049), 1, False),
        ((8192, 4096), 30505, True),  # 8K, of one colour: 1100 pixels a byte
        ((8192, 4096), 30504, False),
        ((8192, 4097), 100_000, False),
        ((16320, 12240), 13 * 10**6, True),  # a phone's 200 million pixels
        ((16320, 12240), 12 * 10**6, False),
    ],
)
def test_pixels_by_bytes(size, nbytes, fits):
    if fits:
        check_size(*size, nbytes)
    else:
        with pytest.raises(BadMessage, match=f"{size[0]}x{size[1]}"):
            check_size(*size, nbytes)


@given(st.integers(1, 16384), st.integers(1, 16384), st.integers(0, 10**6))
def test_a_megabyte_is_at_most_as_much_as_8k(width, height, nbytes):
    try:
        check_size(width, height, nbytes)
    except BadMessage:
        assert width * height > 2**23
    else:
        assert width * height <= 2**25


def test_depth_of_81_million_pixels_in_few_bytes_is_refused():
    for message in (
        sensor.compressed(1, black(9000, 9000, np.uint16), "16UC1; png compressed"),
        sensor.image(1, np.zeros((4096, 4096), np.uint16), "16UC1"),
    ):
        with pytest.raises(BadMessage, match=f"expected at most {MOST_DEPTH} pixels"):
            depth_pixels(message)


def test_colour_of_64_million_pixels_in_few_bytes_is_refused():
    for data in (black(8192, 8192), black(8192, 8192, form=".jpg"), black(4096, 4096, form=".tiff")):
        with pytest.raises(BadMessage, match="expected at most"):
            color_pixels(sensor.compressed(1, data, "png"))


def test_a_black_image_of_4k_is_read():
    found = color_pixels(sensor.compressed(1, black(3840, 2160), "png"))
    assert not found.decode().any()


def test_a_jpeg_that_goes_over_its_pixels_for_ever_is_refused():
    for count in (33, 5000):
        with pytest.raises(BadMessage, match="JPEG of more than 32 scans"):
            color_pixels(sensor.compressed(1, many_scans(count), "jpeg"))
        with pytest.raises(BadMessage, match="JPEG of more than 32 scans"):
            read_pixels(many_scans(count))
    assert color_pixels(sensor.compressed(1, many_scans(32), "jpeg")).decode().shape == (64, 64, 3)


def test_what_follows_the_end_of_a_jpeg_and_lies_in_its_headers_counts_for_nothing():
    """As in photos with a film or a map of brightness behind them, and thumbnails before."""
    scan = b"\xff\xda\x00\x02"
    jpeg = many_scans(10)
    for data in (jpeg + 500 * scan, jpeg[:2] + b"\xff\xe1" + (2 + 100 * 4).to_bytes(2, "big") + 100 * scan + jpeg[2:]):
        assert color_pixels(sensor.compressed(1, data, "jpeg")).decode().shape == (64, 64, 3)
        assert read_pixels(data).shape == (64, 64, 3)


def test_a_size_that_phones_have_is_looked_at_as_any_other():
    photo = bytearray(black(16, 16, form=".jpg"))
    size = photo.index(b"\xff\xc0") + 5
    photo[size : size + 4] = (12240).to_bytes(2, "big") + (16320).to_bytes(2, "big")
    with pytest.raises(BadMessage, match=r"16320x12240 in \d+ bytes: expected at most 8388608 pixels"):
        color_pixels(sensor.compressed(1, bytes(photo), "jpeg"))


def test_a_file_that_another_program_would_be_run_for_is_no_picture():
    with pytest.raises(BadMessage, match="no picture that is known here"):
        read_pixels(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (w) file\n%%EOF\n")


def camera(width, height, focal=1000.0):
    return Camera("c", "c", width, height, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]))


def test_rays_of_ever_more_cameras_are_kept_within_a_bound():
    for i in range(20):
        ray_grid(camera(1920, 1080, 1000.0 + i))
    assert 0 < ray_grid.cache.currsize <= KEPT
    assert sum(rays.nbytes for rays in ray_grid.cache.values()) == ray_grid.cache.currsize


def test_two_large_cameras_are_compared_at_few_pixels():
    one, other = camera(8000, 6000), camera(4000, 3000, 500.0)
    tracemalloc.start()
    try:
        same_view(one, other, np.eye(4))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("side, most", [(4000, 2), (100, bag.AHEAD + 2)])
def test_frames_are_decoded_ahead_as_far_as_memory_for_it_goes(side, most):
    """Of 4000 x 4000 pixels, 64 MB each with luminance and depth beside: two wait beside the one in use."""
    decoded = []

    def frames():
        for i in range(30):

            def decode(i=i):
                decoded.append(i)
                return np.zeros((1, 1, 3), np.uint8)

            pixels = Pixels(side, side, 1, decode)
            yield Frame(i, camera(side, side), image=pixels, depth=Pixels(side, side, 1, lambda: np.zeros((1, 1))))

    begun = []
    for frame in bag._decoded(frames(), lambda frame: (True, False)):
        begun.append(max(decoded, default=0) - frame.stamp_ns)
        frame.release()
    assert sorted(decoded) == list(range(30))
    assert max(begun) <= most
    assert all(b - a <= most for a, b in pairwise(begun))
