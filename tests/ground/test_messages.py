import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.camera_info import readout_from_info
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.messages import color_pixels, depth_pixels, pose_from_pose, stamp_ns

from . import sensor

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 50, 100]]], np.uint8)
MILLIMETRES = np.array([[0, 1500], [400, 65535]], np.uint16)
METRES = np.array([[0, 1.5], [0.4, 65.535]], np.float32)


def test_stamp():
    assert stamp_ns(sensor.time(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    "pixels, encoding",
    [
        (RGB, "rgb8"),
        (RGB[..., ::-1], "bgr8"),
        (RGB[..., ::-1], "8UC3"),
        (np.dstack([RGB, np.full((2, 2), 7, np.uint8)]), "rgba8"),
        (np.dstack([RGB[..., ::-1], np.full((2, 2), 7, np.uint8)]), "bgra8"),
        ((RGB.astype(np.uint16) * 257), "rgb16"),
    ],
)
def test_raw_colour(pixels, encoding):
    out = color_pixels(sensor.image(1, np.ascontiguousarray(pixels), encoding))
    assert (out.height, out.width) == (2, 2)
    decoded = out.decode()
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - RGB).max() <= 1


def test_grey_becomes_three_equal_channels():
    grey = np.array([[0, 200], [30, 255]], np.uint8)
    np.testing.assert_array_equal(color_pixels(sensor.image(1, grey, "mono8")).decode(), np.dstack([grey] * 3))


@pytest.mark.parametrize(
    "encoding", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8", "yuv422", "yuv422_yuy2"]
)
def test_other_colour_encodings_of_a_uniform_grey(encoding):
    shape = (8, 8, 2) if encoding.startswith("yuv") else (8, 8)
    decoded = color_pixels(sensor.image(1, np.full(shape, 128, np.uint8), encoding)).decode()
    assert decoded.shape == (8, 8, 3)
    assert np.abs(decoded.astype(int) - 128).max() <= 3


def test_row_padding_is_skipped():
    padded = np.zeros((2, 10), np.uint8)
    padded[:, :6] = RGB.reshape(2, 6)
    out = color_pixels(sensor.image(1, padded, "rgb8", step=10, width=2, height=2)).decode()
    np.testing.assert_array_equal(out, RGB)


def test_raw_images_are_not_copied_to_be_held():
    msg = sensor.color(1)
    assert np.shares_memory(color_pixels(msg).decode(), msg.data)


def test_jpeg_and_png_colour():
    flat = np.zeros((40, 24, 3), np.uint8) + np.array([200, 100, 50], np.uint8)  # RGB
    for extension, form in ((".jpg", "rgb8; jpeg compressed bgr8"), (".png", "png")):
        out = color_pixels(sensor.compressed(1, sensor.encode(extension, flat[..., ::-1]), form))
        assert (out.height, out.width) == (40, 24)
        assert np.abs(out.decode().astype(int) - flat).max() <= 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: sensor.image(1, MILLIMETRES, "16UC1"),
        lambda: sensor.image(1, MILLIMETRES, "mono16"),
        lambda: sensor.image(1, MILLIMETRES.byteswap(), "16UC1", big_endian=1),
        lambda: sensor.image(1, METRES, "32FC1"),
        lambda: sensor.compressed(1, sensor.encode(".png", MILLIMETRES), "16UC1; png compressed"),
        lambda: sensor.compressed_depth(1, MILLIMETRES, "16UC1; compressedDepth png"),
    ],
)
def test_depth(make):
    out = depth_pixels(make())
    assert (out.height, out.width) == (2, 2)
    assert out.decode().dtype == np.float32
    np.testing.assert_allclose(out.decode(), METRES, rtol=1e-6)


def test_quantised_inverse_depth():
    """compressed_depth_image_transport stores a / z + b; 0 means no reading."""
    a, b = 100.0, 3.0
    z = np.array([[0.5, 2.0], [4.0, 0.0]])
    stored = np.where(z > 0, a / np.maximum(z, 1e-9) + b, 0).astype(np.uint16)
    out = depth_pixels(sensor.compressed_depth(1, stored, "32FC1; compressedDepth png", a, b)).decode()
    np.testing.assert_allclose(out, z, rtol=1e-6)


def test_nan_infinite_and_negative_depth_are_no_reading():
    wild = np.array([[np.nan, np.inf], [-np.inf, -1.0]], np.float32)
    np.testing.assert_array_equal(depth_pixels(sensor.image(1, wild, "32FC1")).decode(), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "msg, what",
    [
        (sensor.image(1, RGB, "rgb9"), "'rgb9' is unknown"),
        (sensor.image(1, RGB, "8UC" + 5000 * "9"), "is unknown"),
        (sensor.image(1, RGB, "64FC513"), "is unknown"),
        (sensor.image(1, METRES, "32FC1"), "'32FC1' is no colour"),
        (sensor.image(1, np.zeros((2, 2), np.uint8), "nv12"), "planar"),
        (sensor.image(1, RGB, "rgb8", width=20), "expected 120 bytes"),
        (sensor.image(1, RGB, "rgb8", height=9), "expected 54 bytes"),
        (sensor.image(1, RGB, "rgb8", step=5), "step 5"),
        (sensor.image(1, np.zeros((4, 5, 2), np.uint8), "yuv422"), "no such size"),
        (sensor.image(1, RGB, "rgb8", width=0), "0x2"),
        (sensor.image(1, RGB, "rgb8", width=2**31, height=2**31), "expected 1 to"),
        (sensor.compressed(1, b"", "jpeg"), "0 bytes"),
        (sensor.compressed(1, b"\xff\xd8\xff and so on", "jpeg"), "not readable"),
        (sensor.compressed(1, sensor.encode(".jpg", RGB)[:-40], "jpeg"), "cut off"),
        (sensor.compressed(1, sensor.encode(".png", RGB)[:-13], "png"), "cut off"),
    ],
)
def test_bad_colour_is_refused_at_once(msg, what):
    with pytest.raises(BadMessage, match=what):
        color_pixels(msg)


@pytest.mark.parametrize(
    "msg, what",
    [
        (sensor.image(1, RGB, "rgb8"), "expected 16UC1"),
        (sensor.image(1, MILLIMETRES, "16UC1", height=3), "expected 12 bytes"),
        (sensor.compressed(1, b"123", "16UC1; compressedDepth png"), "12 byte header"),
        (sensor.compressed(1, b"1" * 50, "16UC1; compressedDepth rvl"), "RVL"),
        (sensor.compressed(1, sensor.encode(".png", MILLIMETRES)[:-13], "16UC1; png compressed"), "cut off"),
    ],
)
def test_bad_depth_is_refused_at_once(msg, what):
    with pytest.raises(BadMessage, match=what):
        depth_pixels(msg)


def test_depth_that_decodes_to_something_else():
    eight_bit = sensor.compressed(1, sensor.encode(".png", np.zeros((4, 4), np.uint8)), "16UC1; png compressed")
    with pytest.raises(BadMessage, match="expected 16 bit"):
        depth_pixels(eight_bit).decode()


@given(st.binary(max_size=300), st.sampled_from(["jpeg", "png", "16UC1; compressedDepth png", ""]))
def test_any_bytes_raise_bad_message_only(data, form):
    for read in (color_pixels, depth_pixels):
        with pytest.raises(BadMessage):
            read(sensor.compressed(1, data, form)).decode()


@given(st.integers(0, 2000))
def test_a_jpeg_cut_anywhere_is_refused(cut):
    whole = sensor.encode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    if cut < len(whole) - 2:
        with pytest.raises(BadMessage):
            color_pixels(sensor.compressed(1, whole[:cut], "jpeg")).decode()


def test_camera_info():
    d = [-0.2, 0.05, 0.001, 0.002, 0.0]
    camera = readout_from_info("front", sensor.info(1, d=d)).camera
    assert (camera.name, camera.frame_id, camera.width, camera.height) == ("front", "optical", 64, 48)
    assert camera.distortion_model == "plumb_bob"
    np.testing.assert_array_equal(camera.distortion, d)
    assert camera.intrinsics[0, 0] == sensor.FOCAL


def test_camera_info_without_distortion():
    assert readout_from_info("c", sensor.info(1, model="", d=[0.0] * 5)).camera.distortion_model == "none"


@pytest.mark.parametrize(
    "msg, what",
    [
        (sensor.info(1, k=[0] * 9), "not calibrated"),
        (sensor.info(1, width=0), "not calibrated"),
        (sensor.info(1, k=[-5, 0, 1, 0, 5, 1, 0, 0, 1]), "fx and fy positive"),
        (sensor.info(1, k=[9, 0, 1, 0, 9, 1, 0, 0, 0]), "end with the row"),
        (sensor.info(1, k=[1e300, 0, 1, 0, 9, 1, 0, 0, 1]), "below 1e"),
        (sensor.info(1, model="fov", d=[1.0]), "known are"),
        (sensor.info(1, d=[0.1, 0.2]), "2 coefficients"),
        (sensor.info(1, roi=(60, 0, 10, 10)), "region of interest"),
    ],
)
def test_bad_camera_info(msg, what):
    with pytest.raises(BadMessage, match=what):
        readout_from_info("c", msg)


def test_pose_with_zero_quaternion():
    with pytest.raises(BadMessage, match="length 0"):
        pose_from_pose(sensor.pose(1.0, sensor.quaternion(w=0.0)))
