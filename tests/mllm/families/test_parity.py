"""Against the reference implementation: every array of its tiny checkpoint, and every tensor of its released one."""

import json

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import (
    TRACK_HEAD,
    empty_model,
    load_model,
    module_entries,
    module_name,
    released_name,
)
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import unpatchify
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import released_config
from spatial_mllm_ros.mllm.weights.files import Entry, check_names

CLOSE = 1e-4
CLIPS = ("video_4x56x84", "video_8x84x56")
IGNORED = -100


@pytest.fixture(scope="module")
def model(parity):
    return load_model(parity / "official_tiny")[0]


@pytest.fixture(scope="module", params=CLIPS)
def clip(request, parity):
    return read_clip(parity, request.param)


@pytest.fixture(scope="module")
def both(parity):
    return [read_clip(parity, name) for name in CLIPS]


def read_clip(parity, name):
    with np.load(parity / "official_tiny" / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def inputs(*clips):
    """Arguments of the model for clips that come one after the other."""
    names = ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts")
    return {name: torch.cat([clip[name] for clip in clips]) for name in names}


def difference(ours, theirs):
    return float((ours - theirs).abs().max())


def test_two_dimensional_tower(model, clip):
    with torch.no_grad():
        ours = model.model.visual(clip["pixel_values_videos"], grid_thw=clip["video_grid_thw"]).pooler_output
    assert difference(ours, clip["visual_embeds"]) < CLOSE


def test_frames_come_back_from_patches(clip):
    frames = unpatchify(clip["pixel_values_videos"], clip["video_grid_thw"][0].tolist())
    assert difference(frames, clip["video_tchw"]) < 1e-6


@torch.no_grad()
def test_fused_tokens(model, clip):
    ours = model.get_video_features(clip["pixel_values_videos"], clip["video_grid_thw"]).pooler_output
    assert difference(ours[0], clip["fused_embeds"]) < CLOSE
    assert difference(clip["visual_embeds"], clip["fused_embeds"]) > 0.1  # or fusing was not tested


def test_positions(model, clip):
    ours, delta = model.model.get_rope_index(clip["input_ids"], **grids(clip))
    assert torch.equal(ours, clip["position_ids"])
    assert delta.item() == clip["position_ids"].max() + 1 - clip["input_ids"].shape[1]


def grids(clip):
    return {name: clip[name] for name in ("video_grid_thw", "second_per_grid_ts")}


@torch.no_grad()
def test_logits_and_loss(model, clip):
    out = model(input_ids=clip["input_ids"], labels=clip["input_ids"], **inputs(clip))
    assert difference(out.logits, clip["logits"]) < CLOSE
    assert abs(float(out.loss) - float(clip["loss"])) < CLOSE


@pytest.mark.parametrize("cache", [True, False])
def test_greedy_tokens(model, clip, cache):
    ours = model.generate(
        input_ids=clip["input_ids"], **inputs(clip), max_new_tokens=12, do_sample=False, use_cache=cache
    )
    assert ours[0, clip["input_ids"].shape[1] :].tolist() == clip["greedy_ids"].tolist()


def test_greedy_tokens_from_encoder_outputs(model, clip):
    """The clip's tokens are given; positions in prefill and decoding are still those of a clip."""
    fused = BaseModelOutputWithPooling(pooler_output=[clip["fused_embeds"]])
    ours = model.generate(
        input_ids=clip["input_ids"],
        mm_encoder_outputs={"video": fused},
        **grids(clip),
        max_new_tokens=12,
        do_sample=False,
    )
    assert ours[0, clip["input_ids"].shape[1] :].tolist() == clip["greedy_ids"].tolist()


@torch.no_grad()
def test_first_of_two_videos_is_as_alone(model, both):
    """What comes before the second clip cannot know of it: the reference's logits hold there."""
    first, second = both
    ids = torch.cat([first["input_ids"], second["input_ids"]], dim=1)
    ours = model(input_ids=ids, **inputs(first, second)).logits
    length = first["input_ids"].shape[1]
    assert difference(ours[:, :length], first["logits"]) < CLOSE


@torch.no_grad()
def test_two_videos_are_encoded_as_alone(model, both):
    first, second = both
    ours = model.get_video_features(
        torch.cat([first["pixel_values_videos"], second["pixel_values_videos"]]),
        torch.cat([first["video_grid_thw"], second["video_grid_thw"]]),
    ).pooler_output
    assert difference(ours[0], first["fused_embeds"]) < CLOSE
    assert difference(ours[1], second["fused_embeds"]) < CLOSE


@torch.no_grad()
def test_two_videos_use_positions_counted_by_hand(model, both):
    """The whole prompt with positions from the reference: the second clip's, moved behind the first clip's largest."""
    first, second = both
    ids = torch.cat([first["input_ids"], second["input_ids"]], dim=1)
    by_hand = torch.cat([first["position_ids"], second["position_ids"] + first["position_ids"].max() + 1], dim=2)
    ours, _ = model.model.get_rope_index(ids, **{k: torch.cat([first[k], second[k]]) for k in grids(first)})
    assert torch.equal(ours, by_hand)
    explicit = model(input_ids=ids, position_ids=by_hand, **inputs(first, second)).logits
    assert difference(model(input_ids=ids, **inputs(first, second)).logits, explicit) < 1e-6


def padded(both, left):
    length = max(clip["input_ids"].shape[1] for clip in both)
    ids = torch.full((2, length), 0)
    mask = torch.zeros(2, length, dtype=torch.long)
    for row, clip in enumerate(both):
        n = clip["input_ids"].shape[1]
        part = slice(length - n, length) if left else slice(0, n)
        ids[row, part], mask[row, part] = clip["input_ids"][0], 1
    return ids, mask


@torch.no_grad()
@pytest.mark.parametrize("left", [True, False])
def test_batch_is_as_alone(model, both, left):
    ids, mask = padded(both, left)
    ours = model(input_ids=ids, attention_mask=mask, **inputs(*both)).logits
    for row, clip in enumerate(both):
        assert difference(ours[row, mask[row].bool()], clip["logits"][0]) < CLOSE


def test_batch_generates_as_alone(model, both):
    ids, mask = padded(both, left=True)
    ours = model.generate(input_ids=ids, attention_mask=mask, **inputs(*both), max_new_tokens=12, do_sample=False)
    for row, clip in enumerate(both):
        assert ours[row, ids.shape[1] :].tolist() == clip["greedy_ids"].tolist()


@torch.no_grad()
def test_decoding_by_hand_continues_where_the_clip_ended(model, clip):
    """Prefill, then one token at a time through the plain forward pass, with and without an attention mask."""
    ids = clip["input_ids"]
    cut = ids.shape[1] - 2
    for masked in (True, False):
        mask = torch.ones_like(ids) if masked else None
        shown = None if mask is None else mask[:, :cut]
        out = model(input_ids=ids[:, :cut], attention_mask=shown, **inputs(clip), use_cache=True)
        for at in range(cut, ids.shape[1]):
            shown = None if mask is None else mask[:, : at + 1]
            out = model(input_ids=ids[:, at : at + 1], attention_mask=shown, past_key_values=out.past_key_values)
            assert difference(out.logits[0, -1], clip["logits"][0, at]) < CLOSE


@torch.no_grad()
def test_text_after_a_clip_is_not_moved_by_it(model, clip):
    """rope_deltas is kept in the model: a prompt without images must not inherit those of the prompt before."""
    ids = torch.arange(20, 32)[None]
    alone = model(input_ids=ids, position_ids=torch.arange(12).expand(3, 1, -1)).logits
    model(input_ids=clip["input_ids"], **inputs(clip))
    assert difference(model(input_ids=ids).logits, alone) < 1e-6
    model(input_ids=clip["input_ids"], **inputs(clip))
    out = model(input_ids=ids[:, :6], use_cache=True)
    out = model(input_ids=ids[:, 6:], past_key_values=out.past_key_values)
    assert difference(out.logits, alone[:, 6:]) < CLOSE


def test_gradients_reach_connector_and_language_model(parity, clip):
    model, _ = load_model(parity / "official_tiny")
    for part in (model.model.visual, model.model.spatial_encoder):
        part.requires_grad_(False)
    labels = clip["input_ids"].clone()
    labels[:, :-4] = IGNORED
    model.train()
    model(input_ids=clip["input_ids"], labels=labels, **inputs(clip)).loss.backward()
    learning = [model.model.connector.mlp[0].weight, model.model.language_model.layers[0].self_attn.q_proj.weight]
    assert all(float(weight.grad.abs().max()) > 0 for weight in learning)
    assert all(p.grad is None for p in model.model.spatial_encoder.parameters())


def test_official_shapes(parity):
    """Every tensor of the released 3B model has its place, with its shape; nothing of ours is without one."""
    shapes = json.loads((parity / "official_v1_1_state_dict_shapes.json").read_text())
    config = SpatialMLLMConfig.from_dict(released_config("3b"))
    model = empty_model(config, torch.bfloat16)
    parameters = dict(model.named_parameters())
    entries = {name: Entry(parity, name, tuple(shape)) for name, shape in shapes.items()}
    check_names(parameters, module_entries(entries, config), "released")
    assert all(p.is_meta for p in parameters.values())
    tracked = {name for name in shapes if module_name(name).startswith(TRACK_HEAD)}
    ours = {released_name(name) for name in parameters}
    assert ours | tracked | {"lm_head.weight"} == shapes.keys()
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
