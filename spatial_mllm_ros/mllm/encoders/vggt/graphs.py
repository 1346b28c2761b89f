"""VGGT as graphs of tensors alone, one clip at a time: what is exported."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..export.graph import Clip, Graph
from ..grid import aggregator_inputs, heads_inputs
from .aggregator import SPECIAL
from .config import VGGTConfig
from .model import VGGT

SHOWN = 8  # frames whose depth is computed at once


class Spatial(nn.Module):
    """The aggregator: a clip becomes the tokens that heads and connector read.

    Args:
        layers: whose tokens of patches to give, each once.
    """

    def __init__(self, vggt: VGGT, layers: Sequence[int]):
        super().__init__()
        self.aggregator, self.layers, self.last = vggt.aggregator, list(layers), vggt.config.depth - 1

    def forward(
        self, images: Tensor, row_places: Tensor, column_places: Tensor, row_weights: Tensor, column_weights: Tensor
    ) -> tuple[Tensor, ...]:
        """
        Args:
            images: [S, 3, H, W] RGB in [0, 1]; for the others see ``grid.aggregator_inputs``.
        Returns:
            Camera tokens [S, 2C] of the last layer, then the patches' [S, h, w, 2C] of each layer asked for.
        """
        positions = self.aggregator.patch_embed.position_embedding(row_weights, column_weights)
        patches = self.aggregator.embed(images, positions)[None]
        tokens = self.aggregator.exchange(patches, row_places, column_places, [*self.layers, self.last])
        grid = row_places.shape[0], column_places.shape[0]
        of_patches = (tokens[layer][0, :, SPECIAL:].unflatten(1, grid) for layer in self.layers)
        return tokens[self.last][0, :, 0], *of_patches


class Heads(nn.Module):
    """The camera head on all frames of a clip, and the depth head on some of them: that needs much memory for each."""

    def __init__(self, vggt: VGGT):
        super().__init__()
        self.camera_head, self.depth_head = vggt.camera_head, vggt.depth_head

    def forward(
        self,
        camera: Tensor,
        first: Tensor,
        second: Tensor,
        third: Tensor,
        fourth: Tensor,
        cells_down: Tensor,
        cells_across: Tensor,
        pixels_down: Tensor,
        pixels_across: Tensor,
    ) -> tuple[Tensor, ...]:
        """
        Args:
            camera: [S, 2C] camera tokens of the last layer. first, ...: [N, h, w, 2C] patch tokens of the layers that
                the depth head reads, N of the frames. For the others see ``grid.heads_inputs``.
        Returns:
            pose_enc [S, 9]; depth and confidence [N, H, W].
        """
        levels = [level.flatten(1, 2) for level in (first, second, third, fourth)]
        depth, confidence = self.depth_head(levels, cells_down, cells_across, pixels_down, pixels_across)
        return self.camera_head(camera[None])[0], depth[..., 0], confidence


def about(config: VGGTConfig) -> dict[str, Any]:
    """What ``encoders.json`` says of a VGGT: its sizes, and the layers that ``geometry`` reads, in its order."""
    return {
        "vggt": {
            "patch_size": config.patch_size,
            "img_size": config.img_size,
            "geometry": [f"layer_{layer}" for layer in config.dpt_layers],
            "shown": SHOWN,
        }
    }


def graphs(vggt: VGGT, extra: Sequence[int] = ()) -> list[Graph]:
    """The files of a VGGT: ``spatial`` and ``geometry``.

    Args:
        extra: layers whose tokens are read, beside those that the depth head reads.
    """
    config = vggt.config
    layers = sorted({*config.dpt_layers, *(layer % config.depth for layer in extra)})
    dense = [f"layer_{layer}" for layer in config.dpt_layers]

    def frames_and_grid(clip: Clip) -> dict[str, Any]:
        images = clip.frames.transpose(0, 3, 1, 2).astype(np.float32) / 255
        return {"images": images, **aggregator_inputs(*clip.grid, config.img_size // config.patch_size)}

    def tokens_and_grid(clip: Clip) -> dict[str, Any]:
        some = {name: clip.values[name][:SHOWN] for name in dense}
        return {"camera": clip.values["camera"], **some, **heads_inputs(*clip.grid, config.patch_size)}

    patch = config.patch_size
    grid_axes = {"row_places": "rows", "column_places": "columns", "row_weights": "rows", "column_weights": "columns"}
    places = {"cells_down": "rows", "cells_across": "columns"}
    pixels = {"pixels_down": f"{patch}*rows", "pixels_across": f"{patch}*columns"}
    return [
        Graph(
            "spatial",
            Spatial(vggt, layers),
            {
                "images": {0: "frames", 2: f"{patch}*rows", 3: f"{patch}*columns"},
                **{name: {0: axis} for name, axis in grid_axes.items()},
            },
            ("camera", *(f"layer_{layer}" for layer in layers)),
            frames_and_grid,
            lambda frames, rows, columns: {"frames": frames, "rows": rows, "columns": columns},
            full=("row_weights", "column_weights"),
        ),
        Graph(
            "geometry",
            Heads(vggt),
            {
                "camera": {0: "frames"},
                **{name: {0: "shown", 1: "rows", 2: "columns"} for name in dense},
                **{name: {0: axis} for name, axis in (places | pixels).items()},
            },
            ("pose_enc", "depth", "confidence"),
            tokens_and_grid,
            lambda frames, rows, columns: {
                "frames": frames,
                "shown": min(frames, SHOWN),
                "rows": rows,
                "columns": columns,
            },
            full=("",),
        ),
    ]
