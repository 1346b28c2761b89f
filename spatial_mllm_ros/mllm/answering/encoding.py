"""A clip is seen: both encoders, then the language model up to the end of the clip, each once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from ..families.kv_cache import CACHE
from ..families.spatial_mllm.packing import PAIR
from ..families.spatial_mllm.processor import CLIP_RATE
from ..families.spatial_mllm.prompts import prefix_ids
from .decode import Stop, check
from .scene import Scene


@torch.inference_mode()
def encode(
    model: Any, processor: Any, images: Sequence[NDArray[np.uint8]], stop: Stop, sizes: tuple[int, int] | None = None
) -> Scene:
    """The scene of a clip.

    Args:
        images: RGB uint8 [H, W, 3], in order of time.
        sizes: least and most pixels of a frame, instead of the processor's.
        stop: asked before each of the parts: packing, the encoders, the language model.
    Raises:
        SpatialError: CANCELED; BAD_REQUEST or NO_FRAMES for images that are none.
        torch.OutOfMemoryError: the device has too little memory; nothing is kept.
    """
    check(stop)
    pixels, grid = (tensor.to(model.device) for tensor in processor.pack_scene(images, sizes))
    ids = torch.tensor([prefix_ids(processor, grid[0].tolist())], device=model.device)
    check(stop)
    embeds = model.model.embed(ids, model.model.encode(ids, pixel_values_videos=pixels, video_grid_thw=grid))
    positions, deltas = model.model.get_rope_index(ids, video_grid_thw=grid, second_per_grid_ts=[PAIR / CLIP_RATE])
    del pixels
    check(stop)
    cache = DynamicCache()
    read = {"inputs_embeds": embeds, "position_ids": positions, CACHE: cache, "use_cache": True, "logits_to_keep": 1}
    model(**read)
    return Scene(cache, ids.shape[1], int(deltas), tuple(range(len(images))))
