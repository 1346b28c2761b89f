"""The 2D encoder as a graph of tensors alone: torch runs it, and it is what is exported."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2_5_VisionTransformerPretrainedModel, Qwen2_5_VLVisionConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionAttention

from ...encoders.grid import MERGE, visual_inputs
from ...encoders.vggt.rope import Rotation, paired, rotate
from .packing import PATCH, PATCH_VALUES

Windows = tuple[Tensor, Tensor, Tensor]


class Attention(Qwen2_5_VLVisionAttention):
    """Within each pair of frames, or within each of its windows."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, position_embeddings: Rotation, windows: Windows | None, **_: Any
    ) -> Tensor:
        """
        Args:
            hidden_states: [T, L, D]. position_embeddings: of the L patches.
            windows: see ``grid.visual_inputs``.
        Returns:
            [T, L, D].
        """
        joint = self.qkv(hidden_states).unflatten(-1, (3 * self.num_heads, -1)).transpose(1, 2)
        q, k, v = joint.chunk(3, 1)  # [T, heads, L, D / heads]
        q, k = rotate(q, position_embeddings), rotate(k, position_embeddings)
        if windows is None:
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        patches, bias, slots = windows
        q, k, v = (each.index_select(2, patches.flatten()).unflatten(2, patches.shape) for each in (q, k, v))
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))  # [T, W, heads, n, D / heads]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None, None].to(q.dtype))
        return self.proj(seen.transpose(2, 3).flatten(1, 2).index_select(1, slots.flatten()).flatten(2))


class Tower(Qwen2_5_VisionTransformerPretrainedModel):
    """Qwen2.5-VL's 2D encoder (Bai et al. 2025, section 2.1): transformers' modules, and their order for any grid.

    Pairs of frames do not see each other, so they are a batch: attention is within a pair, or within each of its
    windows, which a table of patches gathers.
    """

    blocks: Any  # transformers' modules
    merger: Any

    def __init__(self, config: Qwen2_5_VLVisionConfig):
        super().__init__(config)
        for block in self.blocks:
            block.attn = Attention(config)

    def forward(self, hidden_states: Tensor, grid_thw: Tensor) -> BaseModelOutputWithPooling:  # type: ignore[override]
        """
        Args:
            hidden_states: patches [N, 1176] of images and videos after each other. grid_thw: int64 [n, 3].
        Returns:
            With merged tokens [N / 4, hidden] as ``pooler_output``.
        """
        grids, window = grid_thw.tolist(), window_of(self.config)
        seen = []
        for part, (t, h, w) in zip(hidden_states.split([t * h * w for t, h, w in grids]), grids, strict=True):
            inputs = [torch.from_numpy(a).to(part.device) for a in visual_inputs(h, w, window).values()]
            patches = part.view(t, h * w // MERGE**2, MERGE**2, PATCH_VALUES)
            seen.append(self.see(patches, *inputs).flatten(0, 1))
        return BaseModelOutputWithPooling(pooler_output=torch.cat(seen))  # type: ignore[arg-type]

    def see(
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
        x = F.linear(patches.flatten(1, 2), self.patch_embed.proj.weight.view(-1, PATCH_VALUES))
        angle = (places.flatten(0, 1)[:, :, None] * self.rotary_pos_emb.inv_freq).flatten(1)  # of row, column
        turn = paired(angle[:, None])  # [h * w, 1, D / 2]
        for i, block in enumerate(self.blocks):
            windows = None if i in self.fullatt_block_indexes else (window_patches, window_bias, window_slots)
            x = block(x, cu_seqlens=None, position_embeddings=turn, windows=windows)
        merged = self.merger.ln_q(x).unflatten(1, (-1, MERGE**2)).flatten(2)
        return self.merger.mlp(merged)


def window_of(config: Qwen2_5_VLVisionConfig) -> int:
    """Side of a window of attention, in tokens; 0 where all layers see whole pairs."""
    whole = set(range(config.depth)) <= set(config.fullatt_block_indexes)
    return 0 if whole else config.window_size // (PATCH * MERGE)
