"""What encoders saw, kept and used again: the same tokens, logits and gradients as from pixels."""

import numpy as np
import pytest
import torch

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import pack
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen
from tests.closeness import assert_close


@pytest.fixture(scope="module")
def model(tiny):
    return load_model(tiny)[0]


@pytest.fixture(scope="module")
def videos():
    """Two videos of different sizes: pixels [sum, 1176] and grids [2, 3]."""
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((4, 56, 84, 3), (2, 56, 56, 3))]
    packed = [pack(clip, 3136, 12544) for clip in clips]
    return torch.cat([values for values, _ in packed]), torch.tensor([grid for _, grid in packed])


def inputs(model, grids):
    ids = [5] + [model.config.video_token_id] * int(grids.prod(1).sum() // 4) + [6, 7, 8]
    return {"input_ids": torch.tensor([ids]), "video_grid_thw": grids}


@torch.no_grad()
def test_seen_in_place_of_pixels(model, videos):
    pixels, grids = videos
    seen = model.model.see(pixels, grids)
    assert seen.complete and seen.visual.shape == (12 + 4, 64) and seen.spatial.shape == (96 + 32, 128)
    expected = model(**inputs(model, grids), pixel_values_videos=pixels).logits
    for given, more in (
        (seen, {}),
        (Seen(None, seen.spatial), {"pixel_values_videos": pixels}),
        (Seen(seen.visual, None), {"pixel_values_videos": pixels}),
    ):
        logits = model(**inputs(model, grids), seen={"video": given}, **more).logits
        assert torch.equal(logits, expected)


def test_each_encoder_that_was_asked_before_does_not_run(model, videos, monkeypatch):
    pixels, grids = videos
    with torch.no_grad():
        seen = model.model.see(pixels, grids)

    def ran(*_, **__):
        raise AssertionError("it ran")

    monkeypatch.setattr(model.model.spatial_encoder.vggt_model, "aggregate", ran)
    model(**inputs(model, grids), pixel_values_videos=pixels, seen={"video": Seen(None, seen.spatial)})
    monkeypatch.setattr(model.model.visual, "forward", ran)
    model(**inputs(model, grids), seen={"video": seen})
    with pytest.raises(AssertionError, match="it ran"):
        model(**inputs(model, grids), pixel_values_videos=pixels, seen={"video": Seen(None, seen.spatial)})


def test_gradients_reach_the_connector_and_are_the_same(model, videos):
    pixels, grids = videos
    seen = Seen(*(part.detach() for part in (lambda s: (s.visual, s.spatial))(model.model.see(pixels, grids))))
    found = []
    for given in ({"pixel_values_videos": pixels}, {"seen": {"video": seen}}):
        model.zero_grad()
        model(**inputs(model, grids), **given).logits.sum().backward()
        found.append([p.grad.clone() for p in model.model.connector.parameters()])
    for a, b in zip(*found):
        assert_close(a, b)
        assert a.abs().max() > 0
    assert model.model.visual.patch_embed.proj.weight.grad is None  # of the last: the encoder took no part
    model.zero_grad()


def test_another_scene_gives_another_answer(model, videos):
    pixels, grids = videos
    with torch.no_grad():
        seen = model.model.see(pixels, grids)
        a = model(**inputs(model, grids), seen={"video": seen}).logits
        b = model(**inputs(model, grids), seen={"video": Seen(seen.visual, seen.spatial.flip(0))}).logits
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Seen(torch.zeros(15, 64), torch.zeros(128, 128)), r"visual tokens \[15, 64\] .* expected 16"),
        (Seen(torch.zeros(16, 64), torch.zeros(127, 128)), r"spatial tokens \[127, 128\] .* expected 128"),
        (Seen(torch.zeros(16, 64), None), "no pixel values"),
        (Seen(), "no pixel values"),
    ],
)
def test_what_does_not_fit_is_refused(model, videos, seen, said):
    with pytest.raises(ValueError, match=said):
        model(**inputs(model, videos[1]), seen={"video": seen})


def test_moved_as_tensors_are():
    moved = Seen(torch.zeros(2, 3), None).to(torch.float64, non_blocking=True)
    assert moved.visual is not None and moved.visual.dtype == torch.float64 and moved.spatial is None
