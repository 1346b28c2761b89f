"""The 2D encoder and the connector as graphs of tensors alone, one clip at a time: what is exported."""

from math import ceil
from typing import Any

from torch import Tensor, nn

from ...encoders.export.graph import Clip, Graph
from ...encoders.grid import MERGE, visual_inputs
from .connector import Connector
from .packing import PAIR, PATCH_VALUES, pack
from .tower import Tower, window_of


class Visual(nn.Module):
    """The 2D encoder on patches of one clip."""

    def __init__(self, tower: Tower):
        super().__init__()
        self.tower = tower

    def forward(
        self,
        patches: Tensor,
        places: Tensor,
        window_patches: Tensor | None = None,
        window_bias: Tensor | None = None,
        window_slots: Tensor | None = None,
    ) -> Tensor:
        """As ``Tower.see``."""
        return self.tower.see(patches, places, window_patches, window_bias, window_slots)


class Joined(nn.Module):
    """The connector, on tokens as both encoders give them."""

    def __init__(self, connector: Connector):
        super().__init__()
        self.connector = connector

    def forward(self, visual: Tensor, spatial: Tensor) -> Tensor:
        """
        Args:
            visual: [T, h/2, w/2, hidden] tokens of the 2D encoder. spatial: [2T, h, w, 2C] of the aggregator.
        Returns:
            [T * h/2 * w/2, hidden] fused tokens.
        """
        frames, rows, columns = spatial.shape[:3]
        grid = frames // PAIR, rows, columns
        return self.connector(visual.flatten(0, 2), spatial.flatten(1, 2), grid)


def visual_graph(tower: Tower) -> Graph:
    """The file of the 2D encoder."""
    module = Visual(tower)
    window = window_of(tower.config)

    def patches_and_grid(clip: Clip) -> dict[str, Any]:
        patches, grid = pack(clip.frames, 1, clip.frames[0].size)
        return {
            "patches": patches.view(grid[0], -1, MERGE**2, PATCH_VALUES).numpy(),
            **visual_inputs(*clip.grid, window),
        }

    def sizes(frames: int, rows: int, columns: int) -> dict[str, int]:
        down, across = -(-rows // MERGE), -(-columns // MERGE)
        windows = ceil(down / window) * ceil(across / window) if window else 0
        return {"pairs": ceil(frames / PAIR), "tokens": down * across, "windows": windows}

    windows = {"window_patches": {0: "windows"}, "window_bias": {0: "windows"}, "window_slots": {0: "tokens"}}
    return Graph(
        "visual",
        module,
        {
            "patches": {0: "pairs", 1: "tokens"},
            "places": {0: "tokens"},
            **(windows if window else {}),
        },
        ("visual",),
        patches_and_grid,
        sizes,
        full=(f"tower.blocks.{len(tower.blocks) - 1}.mlp.down_proj",),  # overflows float16 in Qwen2.5-VL-3B
    )


def connector_graph(connector: Connector, layer: int) -> Graph:
    """The file of the connector, which reads the aggregator's tokens of a layer."""
    source = f"layer_{layer}"

    def tokens(clip: Clip) -> dict[str, Any]:
        pairs, rows, columns = len(clip.frames) // PAIR, clip.grid[0] // MERGE, clip.grid[1] // MERGE
        return {"visual": clip.values["visual"].reshape(pairs, rows, columns, -1), source: clip.values[source]}

    return Graph(
        "connector",
        Joined(connector),
        {
            "visual": {0: "pairs", 1: "down", 2: "across"},
            source: {0: f"{PAIR}*pairs", 1: f"{MERGE}*down", 2: f"{MERGE}*across"},
        },
        ("fused",),
        tokens,
        lambda frames, rows, columns: {
            "pairs": ceil(frames / PAIR),
            "down": -(-rows // MERGE),
            "across": -(-columns // MERGE),
        },
    )
