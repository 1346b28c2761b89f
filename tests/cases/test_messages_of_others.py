"""Pictures in messages as others send them: mosaics in JPEG, few bits of 16, rests behind the end, RVL, 8 bit depth."""

import struct
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.assembler import FrameAssembler
from spatial_mllm_ros.bringup.cameras import fit
from spatial_mllm_ros.config import Config, CoverageParams
from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.messages import NotDepth, color_pixels, depth_pixels
from spatial_mllm_ros.recordings import BagWarning, read_frames, recording_info
from spatial_mllm_ros.rvl import decode_rvl
from spatial_mllm_ros.scene.selection import select
from tests.cases import room
from tests.recordings.recordings import compressed, image, write_ros2

ORANGE, TEAL = (205, 110, 30), (25, 130, 160)
RNG = np.random.default_rng(17)


def two_colors(height=60, width=80):
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:, : width // 2], rgb[:, width // 2 :] = ORANGE, TEAL
    return rgb


def encoded(extension, pixels, *options):
    return cv2.imencode(extension, pixels, options)[1].tobytes()


def assert_two_colors(rgb, within=3):
    middle, quarter = rgb.shape[0] // 2, rgb.shape[1] // 4
    np.testing.assert_allclose(rgb[middle, quarter].astype(int), ORANGE, atol=within)
    np.testing.assert_allclose(rgb[middle, 3 * quarter].astype(int), TEAL, atol=within)


def mosaic(order, dtype=np.uint8):
    rgb, out = two_colors(), np.empty((60, 80), dtype)
    for k, color in enumerate(order):
        out[k // 2 :: 2, k % 2 :: 2] = rgb[k // 2 :: 2, k % 2 :: 2, "rgb".index(color)]
    return out * 257 if dtype == np.uint16 else out


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_inside_of_a_picture(order):
    jpeg = encoded(".jpg", mosaic(order), cv2.IMWRITE_JPEG_QUALITY, 98)
    assert_two_colors(color_pixels(compressed(1, jpeg, f"bayer_{order}8; jpeg compressed ")).decode(), 6)
    png = encoded(".png", mosaic(order))
    assert_two_colors(color_pixels(compressed(1, png, f"bayer_{order}8; png compressed ")).decode(), 0)
    deep = encoded(".png", mosaic(order, np.uint16))
    assert_two_colors(color_pixels(compressed(1, deep, f"bayer_{order}16; png compressed ")).decode(), 0)


def test_a_mosaic_that_was_turned_into_colour_before_is_colour():
    jpeg = encoded(".jpg", two_colors()[..., ::-1])
    assert_two_colors(color_pixels(compressed(1, jpeg, "bayer_rggb8; jpeg compressed bgr8")).decode())


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_as_many_bits_as_are_in_use_are_shown(bits, encoding):
    ramp = np.linspace(0, 2**bits - 1, 256).astype(np.uint16)[None].repeat(4, 0)
    for message in (image(1, ramp, encoding), compressed(1, encoded(".png", ramp), f"{encoding}; png compressed ")):
        shown = color_pixels(message).decode()
        np.testing.assert_allclose(shown[2, :, 1], np.arange(256), atol=1)


def test_a_mosaic_of_twelve_bits():
    shown = color_pixels(image(1, mosaic("rggb", np.uint16) >> 4, "bayer_rggb16")).decode()
    assert_two_colors(shown, 0)


def test_the_bits_of_a_stream_do_not_flicker_and_are_said_once():
    assembler = FrameAssembler(Config(), needs=())
    assembler.add_info("camera", room.info(room.START, size=(4, 4)))
    said = []
    for i, top in enumerate([900, 4000, 900, 700]):  # 10 bits, then 12
        assembler.add_color("camera", image(room.START + i, np.full((4, 4), top, np.uint16), "mono16"), 0)
        said += [assembler.problems.pop("bits in use", "")]
    shown = [frame.image[0, 0, 0] for frame in assembler.take(10**12, flush=True)]
    assert shown == [900 >> 2, 4000 >> 4, 900 >> 4, 700 >> 4]
    assert ["10 bits of 16" in said[0], "12 bits of 16" in said[1], *said[2:]] == [True, True, "", ""]


JPEG = encoded(".jpg", two_colors()[..., ::-1])
JUNK = RNG.integers(1, 255, 4000, dtype=np.uint8).tobytes()
PNG = encoded(".png", two_colors()[..., ::-1])
REST = {
    "nothing": JPEG,
    "zeros": JPEG + bytes(6000),
    "junk": JPEG + JUNK,
    "the rest of an older frame": JPEG + JPEG[300:700] + JUNK[:900],
    "a film, as in motion photos": JPEG + struct.pack(">I", 24) + b"ftypmp42" + JUNK,
    "bytes before the end": JPEG[:-2] + b"\0\0\0" + JPEG[-2:],
    "junk behind a PNG": PNG + JUNK,
}


@pytest.mark.parametrize("data", REST.values(), ids=REST)
@pytest.mark.parametrize("form", ["jpeg", "", "png", "rgb8; jpeg compressed bgr8"])
def test_what_stands_behind_the_end_does_no_harm(data, form):
    assert_two_colors(color_pixels(compressed(1, data, form)).decode())


def with_thumbnail(jpeg, thumbnail):
    """With a whole JPEG in an APP1 segment, as cameras put it there."""
    segment = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def test_the_end_of_a_thumbnail_is_not_that_of_its_picture():
    whole = with_thumbnail(JPEG, JPEG)
    assert_two_colors(color_pixels(compressed(1, whole, "jpeg")).decode())
    with pytest.raises(BadMessage, match="cut off"):
        color_pixels(compressed(1, whole[:-100], "jpeg"))


@pytest.mark.parametrize(
    "data, form", [(b"\0\0\0\1\x67\x42\0\x1e" + JUNK, "h264"), (b"\0\0\1\x40" + JUNK, ""), (JUNK, "hevc")]
)
def test_a_part_of_a_video_is_named(data, form):
    with pytest.raises(BadMessage, match=r"a part of a video .* cannot be read: publish or record Image"):
        color_pixels(compressed(1, data, form))


def rvl(depth):
    """By the description of the coding (Wilson 2017), one number after the other."""
    groups, flat, last, at = [], [int(v) for v in depth.ravel()], 0, 0

    def number(value):
        while value > 7:
            groups.append(8 | value & 7)
            value >>= 3
        groups.append(value)

    while at < len(flat):
        for wanted in (False, True):
            run = at
            while run < len(flat) and (flat[run] > 0) == wanted:
                run += 1
            number(run - at)
            if wanted:
                for value in flat[at:run]:
                    change, last = value - last, value
                    number(2 * change if change >= 0 else -2 * change - 1)
            at = run
    groups += [0] * (-len(groups) % 8)
    words = [int("".join(f"{g:x}" for g in groups[i : i + 8]), 16) for i in range(0, len(groups), 8)]
    return struct.pack("<ii", depth.shape[1], depth.shape[0]) + struct.pack(f"<{len(words)}I", *words)


def depth_message(ns, coded, form="16UC1; compressedDepth rvl", a=0.0, b=0.0):
    return compressed(ns, struct.pack("<iff", 0, a, b) + coded, form)


IMAGES = {
    "without a reading": np.zeros((7, 9), np.uint16),
    "all": np.full((7, 9), 65535, np.uint16),
    "up and down": np.array([[1, 65535, 0], [0, 1, 65535]], np.uint16),
    "noise with holes": (RNG.integers(0, 65536, (40, 50)) * (RNG.random((40, 50)) > 0.3)).astype(np.uint16),
}


@pytest.mark.parametrize("depth", IMAGES.values(), ids=IMAGES)
def test_rvl(depth):
    out = depth_pixels(depth_message(1, rvl(depth)))
    assert (out.height, out.width) == depth.shape
    np.testing.assert_array_equal(np.rint(1000 * out.decode()), depth)


def test_rvl_of_a_recording(tmp_path):
    topic = room.DEPTH + "/compressedDepth"
    messages = room.recording(
        8, depth=lambda ns, z: depth_message(ns, rvl(room.millimetres(z))), topics=(room.COLOR, topic, room.INFO)
    )
    found = list(read_frames(write_ros2(tmp_path / "bag", messages)))
    assert select(found, CoverageParams()).voxels_seen == room.right_voxels(8)


def test_rvl_of_inverse_depth():
    a, b, z = 100.0, 3.0, np.array([[0.5, 2.0], [4.0, 0.0]])
    stored = np.where(z > 0, a / np.maximum(z, 1e-9) + b, 0).astype(np.uint16)
    out = depth_pixels(depth_message(1, rvl(stored), "32FC1; compressedDepth rvl", a, b)).decode()
    np.testing.assert_allclose(out, z, rtol=1e-6)


@pytest.mark.parametrize(
    "coded, why",
    [
        (b"", "its size, 8 bytes, is missing"),
        (struct.pack("<ii", -4, 8), "RVL depth of -4x8: expected 1 to"),
        (struct.pack("<ii", 2**30, 2**30), "expected 1 to 16384 pixels a side"),
        (struct.pack("<ii", 16384, 1024), "expected at most 12582912 pixels"),
        (struct.pack("<ii", 4, 4), "broken or cut off after 0 of 16 pixels"),
        (rvl(IMAGES["noise with holes"])[:-400], "broken or cut off after [1-9]"),
        (struct.pack("<iiI", 2, 2, 0x97000000), "broken or cut off"),  # a run of 57 pixels in an image of 4
        (struct.pack("<ii", 2, 2) + b"\xff" * 400, "broken or cut off"),  # a number without an end
    ],
)
def test_broken_rvl_is_refused(coded, why):
    with pytest.raises(BadMessage, match=why):
        depth_pixels(depth_message(1, coded)).decode()


@given(st.binary(max_size=200), st.integers(-3, 40), st.integers(-3, 40))
def test_any_bytes_of_rvl_are_an_image_or_bad(data, width, height):
    with suppress(BadMessage):
        assert decode_rvl(memoryview(struct.pack("<ii", width, height) + data)).shape == (height, width)


SATURATED = np.clip(IMAGES["noise with holes"], 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "message, why",
    [
        (compressed(1, encoded(".jpg", SATURATED), "16UC1; jpeg compressed "), "in a JPEG, which has 8 bits"),
        (compressed(1, encoded(".png", SATURATED), "16UC1; png compressed "), "a PNG of 8 bits and 1 channels"),
        (compressed(1, encoded(".png", np.dstack([SATURATED] * 3)), "png"), "a PNG of 8 bits and 3 channels"),
        (image(1, SATURATED, "mono8"), "depth encoding 'mono8'"),
    ],
)
def test_what_can_hold_no_depth_is_refused_at_once(message, why):
    with pytest.raises(NotDepth, match=why):
        depth_pixels(message)


def saturated(ns, metres):
    return compressed(ns, encoded(".jpg", np.clip(room.millimetres(metres), 0, 255).astype(np.uint8)), "16UC1; jpeg")


def whole(ns, metres):
    return depth_message(ns, encoded(".png", room.millimetres(metres)), "16UC1; compressedDepth png")


TOPICS = (room.COLOR, room.DEPTH + "/compressedDepth", room.INFO)


def test_the_depth_with_all_bits_is_chosen(tmp_path):
    messages = room.recording(10, depth=whole, topics=TOPICS)
    messages += room.recording(10, depth=saturated, topics=(room.COLOR, room.DEPTH + "/compressed", room.INFO))[1:]
    messages = [m for m in messages if m[0].startswith(room.DEPTH)] + room.recording(10, depth=lambda ns, z: None)
    bag = write_ros2(tmp_path / "bag", sorted(messages, key=lambda m: m[1]))
    known = recording_info(bag)
    assert known.cameras["camera"].depth == room.DEPTH + "/compressedDepth" and not known.problems
    assert select(list(read_frames(bag)), CoverageParams()).voxels_seen == room.right_voxels(10)
    values = {"camera.depth_topic": room.DEPTH, "camera.image_topic": room.COLOR, "camera.camera_info_topic": room.INFO}
    assert fit(values, "", [topic.name for topic in known.topics])[0]["camera.depth_transport"] == "compressedDepth"


def test_depth_in_eight_bits_alone_is_not_used_and_it_is_said_why(tmp_path):
    topics = (room.COLOR, room.DEPTH + "/compressed", room.INFO)
    bag = write_ros2(tmp_path / "bag", room.recording(3, depth=saturated, topics=topics))
    why = f"{room.DEPTH}/compressed is not used: depth in a JPEG, which has 8 bits: metres are lost; expected 16 bit"
    assert any(problem.startswith(why) for problem in recording_info(bag).problems)
    with pytest.warns(BagWarning, match="metres are lost"):
        assert not any(frame.has_depth for frame in read_frames(bag))
