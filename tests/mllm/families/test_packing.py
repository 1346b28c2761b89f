import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import MEAN, STD, TRAINED_PIXELS, fit_size, pack, unpatchify

ANY = 56 * 56, 28 * 28 * 1280


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height, width):
    """A picture without steep edges, so that the order of the two passes of a resize hardly matters."""
    v, u = np.mgrid[:height, :width]
    return np.stack([127 + 120 * np.sin(u / 17 + c) * np.cos(v / 23) for c in range(3)], -1).astype(np.uint8)


@pytest.mark.parametrize("name", ["video_4x56x84", "video_8x84x56"])
def test_as_the_reference_packs(parity, name):
    data = np.load(parity / "official_tiny" / f"{name}.npz")
    values, grid = pack(data["frames"], *ANY)
    assert list(grid) == data["video_grid_thw"].tolist()[0]
    np.testing.assert_allclose(values, data["pixel_values_videos"], atol=1e-6)
    np.testing.assert_allclose(unpatchify(values, grid), data["video_tchw"], atol=1e-6)
    np.testing.assert_allclose(
        unpatchify(torch.from_numpy(data["pixel_values_videos"]), grid), data["video_tchw"], atol=1e-6
    )


@pytest.mark.parametrize("height, width", [(56, 84), (480, 640), (123, 77), (720, 405), (40, 300)])
def test_images_as_transformers_packs_them(height, width):
    """Pillow and torch round each of the two passes apart by one level of 255 at most."""
    image = smooth(height, width)
    ours, grid = pack([image], *ANY)
    theirs = Qwen2VLImageProcessorPil(min_pixels=ANY[0], max_pixels=ANY[1])(images=[image], return_tensors="pt")
    assert list(grid) == theirs["image_grid_thw"].tolist()[0]
    assert (ours - theirs["pixel_values"]).abs().max() <= 2.001 / 255 / min(STD)


def test_layout_worked_out_by_hand():
    """Value [row, c, k, i, j] is channel c of frame k of the pair, pixel (i, j) of the patch."""
    frames = noise(4, 56, 84, 3)
    values, grid = pack(frames, 56 * 84, 56 * 84)
    assert grid == (2, 4, 6) and values.shape == (48, 1176) and values.dtype == torch.float32
    rows = values.view(2, 2, 3, 2, 2, 3, 2, 14, 14)  # pair, block down, block across, patch in block, c, frame, i, j
    for t, bi, bj, mi, mj, c, k, i, j in [
        (0, 0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 2, 0, 1, 2, 1, 13, 5),
        (0, 1, 1, 1, 0, 1, 1, 3, 9),
    ]:
        level = frames[2 * t + k, (2 * bi + mi) * 14 + i, (2 * bj + mj) * 14 + j, c] / 255
        assert rows[t, bi, bj, mi, mj, c, k, i, j] == pytest.approx((level - MEAN[c]) / STD[c], abs=1e-6)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 400_000),
    st.integers(0, 1_000_000),
)
@settings(max_examples=400, deadline=None)
def test_sizes_as_transformers_chooses_them(height, width, low, more):
    if max(height, width) <= 200 * min(height, width):
        assert fit_size(height, width, low, low + more) == smart_resize(height, width, 28, low, low + more)


def test_trained_size_of_a_usual_camera():
    assert fit_size(480, 640, *TRAINED_PIXELS) == (476, 644)
    height, width = fit_size(1080, 1920, *TRAINED_PIXELS)
    assert (height, width) == (420, 756) and height % 28 == width % 28 == 0


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_unpatchify_gives_back_the_frames(count, down, across):
    frames = noise(count, 28 * down, 28 * across, 3, seed=count)
    values, grid = pack(frames, 1, 10**7)
    seen = unpatchify(values, grid)
    whole = frames if count % 2 == 0 else np.concatenate([frames, frames[-1:]])
    np.testing.assert_allclose(seen, whole.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_unpatchify_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[47, 1176\].*expected \[48, 1176\]"):
        unpatchify(torch.zeros(47, 1176), (2, 4, 6))
    with pytest.raises(ValueError, match="even numbers of patches"):
        unpatchify(torch.zeros(15, 1176), (1, 3, 5))


def test_one_frame_is_a_clip():
    one, grid = pack([noise(56, 56, 3)], *ANY)
    assert grid == (1, 4, 4)
    two = unpatchify(one, grid)
    assert torch.equal(two[0], two[1])


def test_other_sizes_keep_their_shape():
    """White frames: the first fills the picture; of others, what is not picture is black, and their aspect stays."""
    wide, tall, small = (np.full((h, w, 3), 255, np.uint8) for h, w in ((56, 112), (112, 56), (28, 56)))
    values, grid = pack([wide, tall, tall, small], *ANY)
    assert grid == (2, 4, 8)
    lit = unpatchify(values, grid).mean(1) > 0.5
    assert lit[0].all() and lit[3].all()
    for frame in lit[1:3]:
        columns = torch.where(frame.all(0))[0]
        assert len(columns) == 28 and columns[0] == 42 and columns[-1] == 69  # 28 x 56 of a 112 x 56 picture, centred
        assert frame.sum() == 56 * 28
    assert pack([tall, wide, wide, wide], *ANY)[1] == (2, 8, 4)


def test_layout_of_memory_does_not_matter():
    frames = noise(2, 60, 90, 3)
    expected, _ = pack(frames, *ANY)
    planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    planes.flags.writeable = False
    for same in (list(frames), planes, frames[::-1][::-1], np.asfortranarray(frames)):
        assert torch.equal(pack(same, *ANY)[0], expected)


@pytest.mark.parametrize(
    "frames, code, words",
    [
        ([], ErrorCode.NO_FRAMES, "no frames"),
        (np.zeros((0, 56, 56, 3), np.uint8), ErrorCode.NO_FRAMES, "no frames"),
        (np.zeros((2, 56, 56, 3), np.float32), ErrorCode.BAD_REQUEST, "frame 0: float32; expected uint8"),
        (np.zeros((2, 56, 56, 3), np.uint16), ErrorCode.BAD_REQUEST, "uint16; expected uint8"),
        (np.zeros((56, 56, 3), np.uint8), ErrorCode.BAD_REQUEST, r"shape \[56, 3\]; expected an RGB array"),
        ([np.zeros((56, 56, 3), np.uint8), np.zeros((56, 56), np.uint8)], ErrorCode.BAD_REQUEST, "frame 1: shape"),
        ([np.zeros((56, 56, 4), np.uint8)], ErrorCode.BAD_REQUEST, r"shape \[56, 56, 4\]"),
        ([np.zeros((0, 56, 3), np.uint8)], ErrorCode.BAD_REQUEST, r"shape \[0, 56, 3\]"),
        (["image.png"], ErrorCode.BAD_REQUEST, "frame 0: str; expected an RGB array"),
        ([np.zeros((1, 201, 3), np.uint8)], ErrorCode.BAD_REQUEST, "201 x 1 pixels"),
    ],
)
def test_bad_frames_are_named(frames, code, words):
    with pytest.raises(SpatialError, match=words) as caught:
        pack(frames, *ANY)
    assert caught.value.code == code
