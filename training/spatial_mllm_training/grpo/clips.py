"""What the encoders saw: they are frozen, and see a clip once; whatever learns reads that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import PAIR
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import CLIP_RATE
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen

from .prompts import Prompt

Policy = SpatialMLLMForConditionalGeneration | PeftModel


@dataclass(frozen=True)
class Clip:
    """What the frozen encoders saw: ``seen`` as ``SpatialMLLMModel.see`` gives it, ``grid`` int64 [1, 3].

    Attributes:
        fused: [n, hidden] tokens behind the connector, where that is frozen too.
    """

    seen: Seen
    grid: Tensor
    fused: Tensor | None = None


@torch.no_grad()
def see(model: SpatialMLLMForConditionalGeneration, prompt: Prompt) -> Clip:
    """A prompt's clip through the encoders, and through a connector that does not learn, on the model's device."""
    pixels, grid = prompt.pixels.to(model.device), prompt.grid.to(model.device)
    clip = Clip(model.see(pixels, grid), grid)
    learns = any(parameter.requires_grad for parameter in model.parts["connector"].parameters())
    return clip if learns else replace(clip, fused=fuse(model, clip))


def fuse(model: SpatialMLLMForConditionalGeneration, clip: Clip) -> Tensor:
    """[n, hidden] tokens of a clip, with gradients to the connector where they are on."""
    if clip.fused is not None:
        return clip.fused
    return model.encode(video_grid_thw=clip.grid, seen={"video": clip.seen})["video"].pooler_output[0]  # type: ignore[index]


def shown(model: SpatialMLLMForConditionalGeneration, clips: Sequence[Clip], rows: Sequence[int]) -> dict[str, Any]:
    """What ``forward`` and ``generate`` take beside tokens, where row i of a batch is about clip ``rows[i]``.

    However many rows are about a clip, the connector reads it once.
    """
    fused = {i: fuse(model, clips[i]) for i in dict.fromkeys(rows)}
    tokens: Any = tuple(fused[i] for i in rows)
    return {
        "mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=tokens)},
        "video_grid_thw": torch.cat([clips[i].grid for i in rows]),
        "second_per_grid_ts": torch.full((len(rows),), PAIR / CLIP_RATE),
    }


@torch.no_grad()
def sample(
    model: Policy, clips: Sequence[Clip], rows: Sequence[int], prompts: Sequence[list[int]], config: GenerationConfig
) -> list[list[int]]:
    """A completion of each prompt, its end token included where it came to an end.

    Args:
        model: the policy, or a PEFT model around it.
        rows: the clip of each prompt. prompts: token ids.
        config: how to sample; with ``eos_token_id`` as a list and ``pad_token_id``.
    """
    base = base_of(model)
    width = max(map(len, prompts))
    ids = torch.tensor([[config.pad_token_id] * (width - len(row)) + row for row in prompts], device=base.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=base.device)
    said = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **shown(base, clips, rows))
    ends = {*config.eos_token_id}  # type: ignore[misc]
    return [until(row, ends) for row in said[:, width:].tolist()]


def until(tokens: list[int], ends: set[int]) -> list[int]:
    """Tokens up to and with the first that ends."""
    return tokens[: next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))]


def base_of(model: nn.Module) -> SpatialMLLMForConditionalGeneration:
    """The Spatial-MLLM in a PEFT model, or itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]
