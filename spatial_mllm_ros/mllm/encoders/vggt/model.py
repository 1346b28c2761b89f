"""VGGT: a clip of RGB frames becomes cameras, depth and points in one pass."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .aggregator import SPECIAL, Aggregator
from .camera_head import CameraHead
from .config import VGGTConfig
from .dense_head import DenseHead, places_of, signed_expm1

HEADS = ("camera", "depth", "points")


@dataclass(frozen=True)
class VGGTOutput:
    """What the heads say, float32; None where a head was not asked. Lengths are in the clip's own unit.

    Attributes:
        pose_enc: [B, S, 9], see ``encoders.view.decode_poses``; the world is the first frame's camera.
        depth, depth_conf: [B, S, H, W, 1] along the optical axis, and [B, S, H, W] from 1 (none) upwards.
        world_points, world_points_conf: [B, S, H, W, 3] in the first frame's camera, and [B, S, H, W].
    """

    pose_enc: Tensor | None = None
    depth: Tensor | None = None
    depth_conf: Tensor | None = None
    world_points: Tensor | None = None
    world_points_conf: Tensor | None = None


class VGGT(nn.Module):
    """Visual Geometry Grounded Transformer (Wang et al., CVPR 2025), without its track head.

    Parameters carry the released names. ``.to(dtype)`` changes the aggregator; the heads stay float32.
    """

    def __init__(self, config: VGGTConfig | None = None):
        super().__init__()
        self.config = config or VGGTConfig()
        self.aggregator = Aggregator(self.config)
        self.camera_head = CameraHead(self.config)
        self.depth_head = DenseHead(self.config, 1, torch.exp)
        self.point_head = DenseHead(self.config, 3, signed_expm1)

    def aggregate(
        self, images: Tensor, layers: Iterable[int] | None = None, chunk: int = 8
    ) -> tuple[dict[int, Tensor], int]:
        """Tokens of the aggregator.

        Args:
            images: [B, S, 3, H, W] RGB in [0, 1], B clips of S frames; H and W multiples of the patch size.
            layers: which layers to keep, negative ones counted from the end; None: all.
            chunk: frames encoded together before frames meet.
        Returns:
            {layer as it was asked for: [B, S, P, 2C]} and the index among the P tokens of a frame's first patch.
        Raises:
            ValueError: images of another shape, a layer that is not there, or no frames in a chunk.
        """
        return self.aggregator(images, layers, chunk), SPECIAL

    def forward(self, images: Tensor, heads: Collection[str] = HEADS, chunk: int = 8) -> VGGTOutput:
        """Cameras, depth and points of B clips of S frames; see ``aggregate`` for the images.

        Args:
            heads: which of ``camera``, ``depth`` and ``points`` to run.
            chunk: frames that go through the DINOv2 encoder and the dense heads together; bounds their memory.
        Raises:
            ValueError: images of another shape, an unknown head, or no frames in a chunk.
        """
        if unknown := [head for head in heads if head not in HEADS]:
            raise ValueError(f"head '{unknown[0]}' is unknown: expected some of {', '.join(HEADS)}")
        last, dense = self.config.depth - 1, self.config.dpt_layers
        layers = {last} if "camera" in heads else set()
        tokens, _ = self.aggregate(images, layers.union(dense if {"depth", "points"} & {*heads} else ()), chunk)
        size = (images.shape[3], images.shape[4])
        out: dict[str, Tensor] = {}
        with torch.autocast(images.device.type, enabled=False):
            if "camera" in heads:
                out["pose_enc"] = self.camera_head(tokens[last][:, :, 0])
            if "depth" in heads:
                out["depth"], out["depth_conf"] = self._dense(self.depth_head, tokens, size, chunk)
            if "points" in heads:
                out["world_points"], out["world_points_conf"] = self._dense(self.point_head, tokens, size, chunk)
        return VGGTOutput(**out)

    def _dense(self, head: DenseHead, tokens: dict[int, Tensor], size: tuple[int, int], chunk: int) -> list[Tensor]:
        """A dense head over all frames, ``chunk`` at a time: values [B, S, H, W, n] and confidence [B, S, H, W]."""
        levels, patch = [tokens[layer] for layer in self.config.dpt_layers], self.config.patch_size
        places = places_of([side // patch for side in size], patch, levels[0].device)
        clips = levels[0].shape[0]
        patches = [level.flatten(0, 1)[:, SPECIAL:].split(chunk) for level in levels]
        parts = [head(part, *places) for part in zip(*patches)]
        return [torch.cat(arrays).unflatten(0, (clips, -1)) for arrays in zip(*parts)]
