import pytest
import torch

from spatial_mllm_ros.mllm.encoders.vggt.aggregator import SPECIAL
from tests.closeness import assert_close


def test_shapes_and_layers(vggt, clip):
    every, patch_start = vggt.aggregate(clip)
    assert patch_start == SPECIAL == 5 and list(every) == [0, 1, 2, 3]
    assert {tuple(tokens.shape) for tokens in every.values()} == {(2, 3, 5 + 2 * 3, 64)}
    some, _ = vggt.aggregate(clip, layers=(1, -1))
    assert list(some) == [1, -1]
    assert torch.equal(some[1], every[1]) and torch.equal(some[-1], every[3])


def test_layers_nobody_asked_for_are_not_run(vggt, clip):
    calls = []
    for layer, block in enumerate(vggt.aggregator.global_blocks):
        block.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
    vggt.aggregate(clip, layers=[1])
    assert calls == [0, 1]


def test_frames_in_chunks(vggt, clip):
    whole, parts = vggt.aggregate(clip, [-1], chunk=100)[0][-1], vggt.aggregate(clip, [-1], chunk=1)[0][-1]
    assert_close(parts, whole)


def test_clips_in_a_batch_are_clips_alone(vggt, clip):
    together = vggt.aggregate(clip, [-1])[0][-1]
    for i in range(2):
        assert_close(vggt.aggregate(clip[i : i + 1], [-1])[0][-1][0], together[i])


def test_the_first_frame_is_the_gauge_and_the_others_a_set(vggt, clip):
    tokens = vggt.aggregate(clip, [-1])[0][-1]
    others, first = [0, 2, 1], [1, 0, 2]
    assert_close(vggt.aggregate(clip[:, others], [-1])[0][-1], tokens[:, others])
    changed = vggt.aggregate(clip[:, first], [-1])[0][-1]
    assert (changed - tokens[:, first]).abs().max() > 1e-2


def test_special_tokens_come_first_and_the_first_frame_has_its_own(vggt, clip):
    seen = []
    vggt.aggregator.frame_blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    vggt.aggregate(clip, [0])
    tokens = seen[0].unflatten(0, (2, 3))
    for frame, which in ((0, 0), (1, 1), (2, 1)):
        for i in range(2):
            assert torch.equal(tokens[i, frame, :1], vggt.aggregator.camera_token[0, which])
            assert torch.equal(tokens[i, frame, 1:5], vggt.aggregator.register_token[0, which])


def test_frames_see_each_other(vggt, clip):
    tokens = vggt.aggregate(clip, [0])[0][0]
    clip[:, 2] = 0.5
    changed = vggt.aggregate(clip, [0])[0][0]
    same = slice(0, 32)  # channels of the frame block of the first layer
    assert torch.equal(changed[:, :2, :, same], tokens[:, :2, :, same])
    assert (changed[:, :2, :, 32:] - tokens[:, :2, :, 32:]).abs().max() > 1e-3


def test_colours_are_normalised(vggt):
    """An image of the mean colour of ImageNet is a zero image."""
    seen = []
    vggt.aggregator.patch_embed.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    picture = torch.stack([mean, mean + std])[None, :, :, None, None].expand(1, 2, 3, 14, 14)
    vggt.aggregate(picture, [0])
    torch.testing.assert_close(seen[0][0], torch.zeros(3, 14, 14))
    assert_close(seen[0][1], torch.ones(3, 14, 14))


@pytest.mark.parametrize(
    "shape, said",
    [
        ((1, 2, 3, 30, 42), "30x42 pixels: height and width must be multiples of 14, such as 28x42"),
        ((1, 2, 3, 28, 5), "such as 28x14"),
        ((2, 3, 28, 42), r"shape \[2, 3, 28, 42\]: expected \[clips, frames, 3, height, width\]"),
        ((1, 2, 4, 28, 42), "expected .clips, frames, 3"),
        ((1, 0, 3, 28, 42), "expected .clips, frames, 3"),
    ],
)
def test_images_of_another_shape(vggt, shape, said):
    with pytest.raises(ValueError, match=said):
        vggt.aggregate(torch.zeros(shape))


def test_bad_arguments(vggt, clip):
    with pytest.raises(ValueError, match="uint8: expected floating point"):
        vggt.aggregate((255 * clip).byte())
    with pytest.raises(ValueError, match="layer 4 is not there: expected -4 to 3"):
        vggt.aggregate(clip, [0, 4])
    with pytest.raises(ValueError, match="chunk = 0"):
        vggt.aggregate(clip, chunk=0)
