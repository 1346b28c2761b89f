"""Where nano begins: its sizes, its tokenizer and weights that know nothing yet."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spatial_mllm_ros.mllm.answering.refusal import REFUSAL
from spatial_mllm_ros.mllm.encoders.vggt.camera_head import REFINEMENTS
from spatial_mllm_ros.mllm.encoders.vggt.layers import LayerScale
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import released_name
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import control_tokens, released_config, write_model
from spatial_mllm_ros.mllm.text.forms import LETTER_ONLY, OFFSET, OPTIONS, POINT, SHORT, WITH_UNIT
from spatial_mllm_ros.mllm.text.parsing import LETTERS

from ..multispa.dots import COLOURS
from ..multispa.sources.simulated import LABELS
from ..multispa.wording import TASKS, Template, templates
from .tokenizer import train_tokenizer

SIZE = (112, 140)  # height and width of a frame that is 4 to 3, pixels
PIXELS = (112 * 140, 20_200)  # least and most of a frame; fit_size makes 112 x 140 of 640 x 480
VOCABULARY = 1536
ROLES = ("system", "user", "assistant")  # of turns
FILLED = 8  # times that the tokenizer sees what templates are filled with
UNITS = ("mm", "whole millimetres", "millimetres")  # that vectors are asked for in
SIDES = ("left", "right", "up", "down", "forward", "backward", "left or right", "up or down", "forward or backward")
COUNTS = (
    ("image", "the image", "this image"),
    *(("images", f"the {n} images", f"these {n} images") for n in ("two", "three", "four")),
)  # how the data engine speaks of one to four images
SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_attention_heads": 6,
    "num_hidden_layers": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [4, 6, 6]},
    "vision_config": {
        "depth": 3,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_heads": 3,
        "out_hidden_size": 192,
        "fullatt_block_indexes": [0, 1, 2],
        "window_size": 112,
    },
    "spatial_config": {
        "img_size": 140,
        "patch_size": 14,
        "embed_dim": 96,
        "depth": 5,
        "num_heads": 3,
        "patch_embed": {"depth": 4, "num_heads": 3},
        "camera_head": {"num_heads": 4},
        "dpt_head": {"features": 16, "out_channels": [16, 24, 32, 48], "intermediate_layer_idx": [0, 1, 3, 4]},
    },
}
"""Of Qwen2.5-VL, VGGT and the connector: 10 million parameters."""


def make_start(path: Path, seed: int) -> Path:
    """Writes a checkpoint to begin from: every file of a Spatial-MLLM, a tokenizer of its own, random weights.

    Raises:
        ModelError: ``path`` is there and not empty.
    """
    tokenizer = train_tokenizer(texts(), VOCABULARY, sentences())
    base = released_config("tiny")
    config = {**base, **SIZES, "vision_config": {**base["vision_config"], **SIZES["vision_config"]}}
    config |= {**control_tokens(tokenizer), "vocab_size": VOCABULARY}
    torch.manual_seed(seed)
    model = new_weights(SpatialMLLMConfig.from_dict(config))
    weights = ((released_name(name), value.detach()) for name, value in model.named_parameters())
    return write_model(path, config, PIXELS, tokenizer, weights)


def texts() -> Iterator[str]:
    """What the model will read and say, without its numbers: templates of the data engine, labels, forms of answers."""
    for name in (*TASKS, "not_observed", "notes"):
        yield from (template.text for template in _leaves(templates(name)))
    filled = [*ROLES, *LABELS, *(colour for colour, _ in COLOURS.values()), *chain(*COUNTS, SIDES)]
    yield from (f"{value}\nthe {value}, a {value}? The {value}." for value in FILLED * filled)
    yield from (OPTIONS, REFUSAL, " ".join(LETTERS), *sentences())


def sentences() -> list[str]:
    """What stands around questions in always the same words, with the space before it: descriptions and notes of the
    data engine, and the forms of answers that every question ends with."""
    said = [t for task in TASKS for t in templates(task)["descriptions"]]
    noted = [t for t in _leaves(templates("notes")) if len(t.text.split()) > 2]
    found = [SHORT, f" {WITH_UNIT}", LETTER_ONLY, POINT, *(OFFSET.format(unit=unit) for unit in UNITS)]
    for images, the_images, these_images in COUNTS:
        known = {"images": images, "the_images": the_images, "these_images": these_images}
        for before, those in (("", said), (" ", noted)):
            given = (t.text.format_map(known) for t in those if t.fields <= known.keys())
            found += [before + text[:1].upper() + text[1:] for text in given]
    return list(dict.fromkeys(found))


def _leaves(node: Any) -> Iterator[Template]:
    for part in node.values() if isinstance(node, dict) else node:
        if isinstance(part, Template):
            yield part
        else:
            yield from _leaves(part)


def new_weights(config: SpatialMLLMConfig) -> SpatialMLLMForConditionalGeneration:
    """The model with weights to train from: torch's own for its layers, unit norms and scales, a view of a radian."""
    model = SpatialMLLMForConditionalGeneration(config)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, LayerScale):
            for parameter in module.parameters():
                nn.init.ones_(parameter)
    for name, parameter in model.named_parameters():
        if "token" in name or "pos_embed" in name:
            nn.init.normal_(parameter, std=0.02)
    head = model.vggt.camera_head
    head.pose_branch.fc2.weight.data[7:] = 0
    head.pose_branch.fc2.bias.data[7:] = 1 / REFINEMENTS  # below 0 it would learn nothing
    model.tie_weights()
    return model
