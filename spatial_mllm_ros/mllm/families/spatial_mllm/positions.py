"""Where tokens stand in time, height and width, as the released checkpoints were trained with (M-RoPE).

Qwen2-VL (Wang et al. 2024, section 2.1), absolute time from Qwen2.5-VL (Bai et al. 2025, section 2.1.3). Text after an
image or a video continues after the largest position of all three axes. Transformers up to 4.51 counted so; later
versions leave time out, which moves every token behind a clip of more than a few frames.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .config import SpatialMLLMConfig
from .packing import MERGE

Grid = Sequence[int]  # (t, h, w): pairs of frames, rows and columns of patches


def rope_index(
    config: SpatialMLLMConfig,
    input_ids: Tensor,
    image_grids: Sequence[Grid] = (),
    video_grids: Sequence[Grid] = (),
    seconds: Sequence[float] | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Positions of the tokens of a batch of prompts, from the tokens alone.

    Args:
        input_ids: [B, L]; an image or a video stands there as a run of its own token.
        image_grids, video_grids: of every image and video, in the order in which they stand in the prompts.
        seconds: time of one step of t, for each video; 1 where there are none.
        mask: [B, L], 0 or False where there is padding, on either side.
    Returns:
        int64 [3, B, L], time, height and width, 0 in padding; and int64 [B, 1], what is added to a later token's index
        in its prompt to get its position.
    Raises:
        ValueError: tokens and grids do not fit.
    """
    seconds = [1.0] * len(video_grids) if seconds is None else seconds
    if len(seconds) != len(video_grids):
        raise ValueError(f"second_per_grid_ts has {len(seconds)} values for {len(video_grids)} videos")
    images, videos = iter(image_grids), iter(zip(video_grids, seconds))
    shown = torch.ones(input_ids.shape, dtype=torch.bool) if mask is None else mask.bool().cpu()
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
    deltas: list[int] = []
    for row, (ids, keep) in enumerate(zip(input_ids.cpu(), shown)):
        parts = [torch.zeros(3, 0, dtype=torch.long), *_parts(config, ids[keep].tolist(), images, videos)]
        positions[:, row, keep] = torch.cat(parts, dim=1)
        deltas.append(_next(parts[-1]) - int(keep.sum()))
    if next(images, None) or next(videos, None):
        raise ValueError("there are more images or videos than the prompts have tokens for")
    return positions.to(input_ids.device), torch.tensor(deltas, device=input_ids.device).unsqueeze(1)


def _parts(
    config: SpatialMLLMConfig, ids: list[int], images: Iterator[Grid], videos: Iterator[tuple[Grid, float]]
) -> Iterator[Tensor]:
    """Positions [3, n] of each run of text, image or video in one prompt without padding."""
    at = start = 0
    while at < len(ids):
        kind = {config.image_token_id: "image", config.video_token_id: "video"}.get(ids[at])
        if kind is None:
            end = at + 1
            while end < len(ids) and ids[end] not in (config.image_token_id, config.video_token_id):
                end += 1
            part = torch.arange(start, start + end - at).expand(3, -1)
        else:
            found = next(videos, None) if kind == "video" else next(((grid, 0.0) for grid in images), None)
            if found is None:
                raise ValueError(f"the prompts have more {kind} tokens than the {kind}s that were given")
            (t, h, w), step = found
            rows, columns = h // MERGE, w // MERGE
            end = at + t * rows * columns
            if ids[at:end] != [ids[at]] * (end - at):
                raise ValueError(f"{kind} of {t} x {h} x {w} patches: expected {end - at} tokens in a row")
            time = (torch.arange(t) * torch.tensor(float(step)) * config.vision.tokens_per_second).long()
            axes = torch.meshgrid(time, torch.arange(rows), torch.arange(columns), indexing="ij")
            part = torch.stack(axes).flatten(1) + start
        yield part
        at, start = end, _next(part)


def _next(part: Tensor) -> int:
    """The first position after a run, on all three axes."""
    return int(part.max()) + 1 if part.numel() else 0
