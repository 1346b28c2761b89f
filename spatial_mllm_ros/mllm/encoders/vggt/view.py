"""Depth and cameras of a clip, from a VGGT in torch."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....geometry.window import WindowGeometry
from ...images import Frames
from .. import view
from ..base import Geometry
from . import VGGT, VGGTConfig


def see_with(vggt: VGGT, frames: Tensor) -> Geometry:
    """What the heads of a VGGT say about one clip, [S, 3, H, W] RGB in [0, 1]."""
    seen = vggt(frames[None], heads=("camera", "depth"))
    return Geometry(seen.depth[0, ..., 0], seen.depth_conf[0], seen.pose_enc[0])


@torch.inference_mode()
def window(
    geometry: Callable[[Tensor], Geometry], config: VGGTConfig, images: Frames, device: torch.device | str
) -> WindowGeometry:
    """See ``encoders.view.window``.

    Args:
        geometry: the encoder, see ``Encoders``; config: its sizes; device: where it takes frames.
    """

    def heads(clip: NDArray[np.uint8]) -> view.HeadsOutput:
        seen = geometry(torch.from_numpy(clip).to(device).permute(0, 3, 1, 2).float() / 255)
        return view.HeadsOutput(*(part.float().cpu().numpy() for part in seen))

    return view.window(heads, config.img_size, config.patch_size, images)
