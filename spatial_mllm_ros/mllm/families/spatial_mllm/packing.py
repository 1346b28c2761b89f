"""Frames to the patches that both encoders read, and back.

The layout is that of Qwen2-VL (Wang et al. 2024, section 2.1): frames resized to multiples of 28 pixels, pairs of
frames cut into patches of 2 x 14 x 14 x 3 values, ordered so that the 2 x 2 patches of one token are together.
"""

from collections.abc import Sequence
from math import ceil, floor, sqrt

import numpy as np
import torch
from torch.nn import functional as F

from ...images import Frames, check_frames

PATCH = 14  # pixels
MERGE = 2  # patches of one token, in each direction
PAIR = 2  # frames of one patch
PATCH_VALUES = 3 * PAIR * PATCH * PATCH  # 1176
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images (Radford et al. 2021), RGB in 0..1
STD = (0.26862954, 0.26130258, 0.27577711)
TRAINED_PIXELS = (293_216, 324_576)  # least and most pixels of a frame that released Spatial-MLLMs were trained with


def pack(frames: Frames, min_pixels: int, max_pixels: int) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Patches of one clip, or of one image (a clip of one frame).

    Frames of another size than the first keep their shape: they are scaled to fit into its size and centred on black.
    The first fills the picture, so what is said about a place in it needs no correction. An odd count repeats the last.

    Args:
        frames: RGB, uint8 [T,H,W,3] or a sequence of [H,W,3].
        min_pixels, max_pixels: range of height x width after resizing.

    Returns:
        pixel values float32 [t*h*w, 1176], and the grid (t, h, w): pairs of frames, patches down, patches across.

    Raises:
        SpatialError: NO_FRAMES for none; BAD_REQUEST for frames that are not uint8 [H,W,3] or longer than 200 x wide.
    """
    checked = check_frames(frames)
    size = checked[0].shape[0], checked[0].shape[1]
    target = fit_size(size[0], size[1], min_pixels, max_pixels)
    clip = torch.stack([resize_frame(frame, size, target) for frame in checked])
    clip = torch.cat([clip, clip[-1:]]) if len(clip) % PAIR else clip
    values = clip.float().sub_(_channels(MEAN, clip) * 255).div_(_channels(STD, clip) * 255)
    grid = (len(clip) // PAIR, target[0] // PATCH, target[1] // PATCH)
    blocks = values.view(grid[0], PAIR, 3, grid[1] // MERGE, MERGE, PATCH, grid[2] // MERGE, MERGE, PATCH)
    return blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, PATCH_VALUES), grid


def unpatchify(pixel_values: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """The frames that ``pack`` cut up, resized as both encoders see them; the inverse of its last step.

    Args:
        pixel_values: [t*h*w, 1176], of one clip or image.
        grid: (t, h, w) in pairs of frames and patches.

    Returns:
        float [2t, 3, 14h, 14w], RGB in 0..1, dtype and device of the pixel values; an odd clip's repeated frame is
        there too.
    """
    t, h, w = (int(n) for n in grid)
    if pixel_values.shape != (t * h * w, PATCH_VALUES) or h % MERGE or w % MERGE:
        raise ValueError(
            f"pixel values {list(pixel_values.shape)} with grid {[t, h, w]}: expected [{t * h * w}, {PATCH_VALUES}]"
            f" and even numbers of patches"
        )
    blocks = pixel_values.view(t, h // MERGE, w // MERGE, MERGE, MERGE, 3, PAIR, PATCH, PATCH)
    clip = blocks.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(t * PAIR, 3, h * PATCH, w * PATCH)
    return clip * _channels(STD, clip) + _channels(MEAN, clip)


def fit_size(height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Height and width, as multiples of 28, nearest to the given shape with min_pixels <= area <= max_pixels.

    Rounds each side to the nearest multiple; only if that area is out of range, scales both sides onto the bound and
    rounds inwards (smart resize of Qwen2-VL). A side is at least 28, so that a thin picture may exceed max_pixels.
    """
    unit = PATCH * MERGE
    rounded = round(height / unit) * unit, round(width / unit) * unit
    if rounded[0] * rounded[1] > max_pixels:
        shrink = sqrt(height * width / max_pixels)
        return tuple(max(floor(side / shrink / unit), 1) * unit for side in (height, width))  # type: ignore[return-value]
    if rounded[0] * rounded[1] < min_pixels:
        grow = sqrt(min_pixels / (height * width))
        return tuple(ceil(side * grow / unit) * unit for side in (height, width))  # type: ignore[return-value]
    return rounded


def resize_frame(frame: np.ndarray, size: tuple[int, int], target: tuple[int, int]) -> torch.Tensor:
    """uint8 [3,h,w] of the target size: as ``size`` is scaled, and for another shape centred on black."""
    height, width = frame.shape[:2]
    fit = min(size[0] / height, size[1] / width)
    inner = tuple(
        max(1, round(side * fit * to / common)) for side, to, common in zip((height, width), target, size, strict=True)
    )
    pixels = torch.from_numpy(frame.transpose(2, 0, 1).copy())[None]
    if inner != (height, width):  # uint8: rounding to float first would not be what the models were trained on
        pixels = F.interpolate(pixels, inner, mode="bicubic", antialias=True)
    top, left = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
    return F.pad(pixels[0], (left, target[1] - inner[1] - left, top, target[0] - inner[0] - top))


def _channels(values: tuple[float, float, float], like: torch.Tensor) -> torch.Tensor:
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.tensor(values, dtype=dtype, device=like.device).view(3, 1, 1)
