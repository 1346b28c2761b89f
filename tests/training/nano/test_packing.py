"""Several questions in one row: the same losses as one by one, whatever stands beside them."""

import numpy as np
import torch
from torch.nn import functional as F

from spatial_mllm_ros.mllm.families.spatial_mllm.packing import PAIR
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import CLIP_RATE
from spatial_mllm_training.nano.packing import packed_loss, rows
from spatial_mllm_training.sft.shown import IGNORED, as_clip
from tests.closeness import assert_close


def record(text, value, output="scalar"):
    return {
        "id": text,
        "question_type": "depth_estimation_coordinate",
        "images": [],
        "conversations": [{"from": "human", "value": text}],
        "gt_value": value,
        "meta": {"output": output, "options": []},
    }


RECORDS = [
    record("How deep is the point at (412, 33), in millimetres?", 1734),
    record("Left or right?", "left", "text"),
    record("Where in the second image is the point at (1, 999)?", "[20, 30]", "pixel"),
]


def alone(model, processor, images, asked):
    """Losses of one record's answer tokens by a plain forward pass."""
    pixels, grid = processor.pack_clip(images)
    tokens = as_clip(asked, "short", processor, grid[0].tolist())
    out = model(
        input_ids=torch.tensor([tokens.ids]),
        pixel_values_videos=pixels,
        video_grid_thw=grid,
        second_per_grid_ts=[PAIR / CLIP_RATE],
    )
    labels = torch.tensor(tokens.labels)[1:]
    known = labels != IGNORED
    return F.cross_entropy(out.logits[0, :-1][known], labels[known], reduction="none")


@torch.no_grad()
def test_losses_are_those_of_questions_one_by_one(loaded):
    model, processor = loaded
    images = np.random.default_rng(0).integers(0, 255, (2, 2, 140, 196, 3), dtype=np.uint8)
    clips = [(images[0], RECORDS), (images[1], RECORDS[1:])]
    packed = packed_loss(model, rows(clips, processor, model.config))
    single = [alone(model, processor, list(shown), asked) for shown, some in clips for asked in some]
    assert_close(packed, torch.cat(single))


@torch.no_grad()
def test_a_question_knows_nothing_of_those_beside_it(loaded):
    model, processor = loaded
    images = np.random.default_rng(1).integers(0, 255, (2, 140, 196, 3), dtype=np.uint8)
    batches = [rows([(images, [RECORDS[0], other])], processor, model.config) for other in RECORDS[1:]]
    count = int((batches[0].labels != IGNORED).sum()) - len(alone(model, processor, list(images), RECORDS[1]))
    first, second = (packed_loss(model, batch)[:count] for batch in batches)
    assert_close(first, second)


def test_gradients_reach_connector_language_model_and_2d_encoder(loaded):
    model, processor = loaded
    images = np.random.default_rng(2).integers(0, 255, (2, 140, 196, 3), dtype=np.uint8)
    model.zero_grad()
    model.requires_grad_(True)
    packed_loss(model, rows([(images, RECORDS)], processor, model.config)).mean().backward()
    for part in (model.model.connector, model.model.language_model.layers[0], model.model.visual.patch_embed):
        assert any(
            float(parameter.grad.abs().sum()) > 0 for parameter in part.parameters() if parameter.grad is not None
        )
    model.zero_grad()
    model.requires_grad_(False)
