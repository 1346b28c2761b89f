"""Several questions about one clip in one row: what they share is read once, and none sees another.

The loss is that of the questions read one by one: each attends to the clip and to itself, and stands where it would
stand alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spatial_mllm_ros.mllm.families.base import Processor
from spatial_mllm_ros.mllm.families.spatial_mllm.config import SpatialMLLMConfig
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import PAIR, pack
from spatial_mllm_ros.mllm.families.spatial_mllm.positions import rope_index
from spatial_mllm_ros.mllm.families.spatial_mllm.processor import CLIP_RATE

from ..sft.records import Record
from ..sft.shown import IGNORED, as_clip


@dataclass(frozen=True)
class Rows:
    """B clips of the same size, each with its questions.

    Attributes:
        pixels: float32 [B * t * h * w, 1176]; grid: (t, h, w).
        ids, labels: int64 [B, L], padded on the right; positions: int64 [3, B, L].
        mask: bool [B, 1, L, L], True where a token may look.
    """

    pixels: Tensor
    grid: tuple[int, int, int]
    ids: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor


def rows(clips: Sequence[tuple[Any, Sequence[Record]]], processor: Processor, config: SpatialMLLMConfig) -> Rows:
    """Tensors of clips, images uint8 [S, H, W, 3] with their questions each."""
    packed = [pack(images, *processor.clip_pixels) for images, _ in clips]
    grid = packed[0][1]
    prefix = processor.prefix_ids(grid)
    start, delta = rope_index(config, torch.tensor([prefix]), video_grids=[grid], seconds=[PAIR / CLIP_RATE])
    first = len(prefix) + int(delta)
    made = [_row(prefix, start[:, 0], first, records, processor, grid) for _, records in clips]
    length = max(ids.shape[0] for ids, *_ in made)
    pad = processor.tokenizer.pad_token_id
    group = torch.stack([F.pad(group, (0, length - len(group)), value=-1) for *_, group in made])
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    same = (group[:, :, None] == group[:, None, :]) | (group[:, None, :] == 0)
    return Rows(
        torch.cat([values for values, _ in packed]),
        grid,
        torch.stack([F.pad(ids, (0, length - len(ids)), value=pad) for ids, *_ in made]),
        torch.stack([F.pad(labels, (0, length - len(labels)), value=IGNORED) for _, labels, *_ in made]),
        torch.stack([F.pad(at, (0, length - at.shape[1])) for _, _, at, _ in made], dim=1),
        (same & earlier)[:, None],
    )


def _row(prefix: list[int], start: Tensor, first: int, records: Sequence[Record], processor: Processor, grid: Any):
    """Ids, labels, positions [3, L] and groups (0: the clip, then each question) of one row."""
    ids, labels, group = [*prefix], [IGNORED] * len(prefix), [0] * len(prefix)
    positions = [start]
    for number, record in enumerate(records, 1):
        tokens = as_clip(record, "short", processor, grid)
        own, learnt = tokens.ids[len(prefix) :], tokens.labels[len(prefix) :]
        ids, labels, group = ids + own, labels + learnt, group + [number] * len(own)
        positions.append(torch.arange(first, first + len(own)).expand(3, -1))
    return torch.tensor(ids), torch.tensor(labels), torch.cat(positions, dim=1), torch.tensor(group)


def packed_loss(model: SpatialMLLMForConditionalGeneration, batch: Rows) -> Tensor:
    """Cross-entropy of each answer's tokens, float32 [number of labelled tokens]."""
    count = batch.ids.shape[0]
    hidden = model.base_model(
        input_ids=batch.ids,
        pixel_values_videos=batch.pixels,
        video_grid_thw=torch.tensor([batch.grid] * count, device=batch.ids.device),
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.mask},
        use_cache=False,
    ).last_hidden_state
    wanted = batch.labels[:, 1:]
    known = wanted != IGNORED
    logits = model.lm_head(hidden[:, :-1][known])
    return F.cross_entropy(logits.float(), wanted[known], reduction="none")
