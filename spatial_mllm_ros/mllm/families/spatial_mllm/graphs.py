"""The 2D encoder and the connector as graphs of tensors alone, one clip at a time: what is exported."""

from math import ceil
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VisionTransformerPretrainedModel, Qwen2_5_VLVisionConfig

from ...encoders.export.graph import Clip, Graph
from ...encoders.grid import MERGE, visual_inputs
from ...encoders.vggt.rope import Rotation, paired, rotate
from .connector import Connector
from .packing import PAIR, PATCH, PATCH_VALUES, pack


class Visual(nn.Module):
    """Qwen2.5-VL's 2D encoder (Bai et al. 2025, section 2.1) on its own weights, for any number of pairs and any grid.

    Pairs of frames do not see each other, so they are a batch: attention is within a pair, or within each of its
    windows, which a table of patches gathers.
    """

    frequencies: Tensor
    blocks: Any  # transformers' modules
    merger: Any

    def __init__(self, tower: Qwen2_5_VisionTransformerPretrainedModel):
        super().__init__()
        self.patches, self.blocks, self.merger = tower.patch_embed.proj, tower.blocks, tower.merger
        self.whole, self.heads = frozenset(tower.config.fullatt_block_indexes), tower.config.num_heads
        self.register_buffer("frequencies", tower.rotary_pos_emb.inv_freq.clone(), persistent=False)

    def forward(
        self,
        patches: Tensor,
        places: Tensor,
        window_patches: Tensor | None = None,
        window_bias: Tensor | None = None,
        window_slots: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            patches: [T, h/2 * w/2, 4, 1176] of T pairs of frames, token by token.
            places, ...: see ``grid.visual_inputs``.
        Returns:
            [T, h/2 * w/2, hidden] merged tokens.
        """
        x = F.linear(patches.flatten(1, 2), self.patches.weight.view(-1, PATCH_VALUES))
        angle = (places.flatten(0, 1)[:, :, None] * self.frequencies).flatten(1)  # of the row, then of the column
        turn = paired(angle[:, None])  # [h * w, 1, D / 2]
        for i, block in enumerate(self.blocks):
            windows = None if i in self.whole else (window_patches, window_bias, window_slots)
            x = x + self._attend(block.attn, block.norm1(x), turn, windows)
            x = x + block.mlp(block.norm2(x))
        merged = self.merger.ln_q(x).unflatten(1, (-1, MERGE**2)).flatten(2)
        return self.merger.mlp(merged)

    def _attend(self, attn: Any, x: Tensor, turn: Rotation, windows: tuple | None) -> Tensor:
        q, k, v = attn.qkv(x).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, 1)  # [T, heads, L, D]
        q, k = rotate(q, turn), rotate(k, turn)
        if windows is None:
            return attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        patches, bias, slots = windows
        q, k, v = (each.index_select(2, patches.flatten()).unflatten(2, patches.shape) for each in (q, k, v))
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))  # [T, W, heads, n, D]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None, None])
        return attn.proj(seen.transpose(2, 3).flatten(1, 2).index_select(1, slots.flatten()).flatten(2))


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


def visual_graph(tower: Qwen2_5_VisionTransformerPretrainedModel) -> Graph:
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
        full=(f"blocks.{len(module.blocks) - 1}.mlp.down_proj",),  # overflows float16 in Qwen2.5-VL-3B
    )


def window_of(config: Qwen2_5_VLVisionConfig) -> int:
    """Side of a window of attention, in tokens; 0 where all layers see whole pairs."""
    whole = set(range(config.depth)) <= set(config.fullatt_block_indexes)
    return 0 if whole else config.window_size // (PATCH * MERGE)


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
