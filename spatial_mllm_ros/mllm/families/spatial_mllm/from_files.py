"""Exported encoders in the place of torch's: the same functions of tensors, computed by whoever runs the files."""

import torch
from torch import Tensor

from ...encoders.base import Encoders, Geometry
from ...encoders.files import FileEncoders
from .seen import Grid

WITHOUT = ("visual", "spatial_encoder", "connector")
"""Parts of the model that are then not loaded, see ``PARTS``."""


def from_files(files: FileEncoders, device: torch.device) -> Encoders:
    """The encoders of a folder, for tensors of that device."""

    def visual(pixels: Tensor, grid_thw: Tensor) -> Tensor:
        grids = [(t, h, w) for t, h, w in grid_thw.tolist()]
        parts = pixels.float().cpu().split([t * h * w for t, h, w in grids])
        seen = [files.visual(part.numpy(), grid) for part, grid in zip(parts, grids, strict=True)]
        return torch.cat([torch.from_numpy(tokens) for tokens in seen]).to(device)

    def spatial(frames: Tensor) -> Tensor:
        clips = [torch.from_numpy(files.tokens(clip.numpy())) for clip in frames.float().cpu()]
        return torch.stack(clips).to(device)

    def geometry(frames: Tensor) -> Geometry:
        return Geometry(*(torch.from_numpy(part).to(device) for part in files.heads(frames.float().cpu().numpy())))

    def connect(visual: Tensor, spatial: Tensor, grid: Grid) -> Tensor:
        fused = files.connect(visual.float().cpu().numpy(), spatial.float().cpu().numpy(), grid)
        return torch.from_numpy(fused).to(device)

    return Encoders(visual, spatial, geometry, connect)
