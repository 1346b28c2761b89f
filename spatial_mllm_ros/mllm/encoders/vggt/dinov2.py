"""DINOv2 vision transformer with registers: a frame alone becomes patch tokens."""

import torch
from torch import Tensor, nn

from .config import VGGTConfig
from .layers import Block

REGISTERS = 4


class PatchEmbed(nn.Module):
    """A linear map of each patch: images [N, 3, H, W] -> [N, H/p * W/p, C], row by row."""

    def __init__(self, dim: int, patch_size: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class DINOv2(nn.Module):
    """ViT with four registers (Oquab et al. 2023; Darcet et al., ICLR 2024).

    ``mask_token`` is part of released weights and of no use after training.
    """

    def __init__(self, config: VGGTConfig):
        super().__init__()
        dim, self.patch_size = config.embed_dim, config.patch_size
        self.side = config.img_size // config.patch_size  # of the square grid of the stored position embedding
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.side**2, dim))
        self.register_tokens = nn.Parameter(0.02 * torch.randn(1, REGISTERS, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = PatchEmbed(dim, config.patch_size)
        self.blocks = nn.ModuleList(
            Block(dim, config.patch_embed_heads, scale=1.0, eps=1e-6) for _ in range(config.patch_embed_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images: Tensor, positions: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> patch tokens [N, H/p * W/p, C]; H, W multiples of the patch size p.

        Args:
            positions: their ``position_embedding``.
        """
        count = images.shape[0]
        x = torch.cat([self.cls_token.expand(count, -1, -1), self.patch_embed(images)], dim=1)
        x = x + positions
        x = torch.cat([x[:, :1], self.register_tokens.expand(count, -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 1 + REGISTERS :])

    def position_embedding(self, row_weights: Tensor, column_weights: Tensor) -> Tensor:
        """Position embedding of the class token and a grid of h x w patches, [1, 1 + h * w, C].

        The stored square grid, resized in float32 by what each row and column takes of it: TensorRT has no antialiased
        resize.

        Args:
            row_weights, column_weights: [h, side] and [w, side], see ``grid.aggregator_inputs``.
        """
        grid = self.pos_embed[0, 1:].float().unflatten(0, (self.side, self.side))
        resized = column_weights @ (row_weights @ grid.flatten(1)).unflatten(1, (self.side, -1))
        return torch.cat([self.pos_embed[:, :1], resized.flatten(0, 1)[None].to(self.pos_embed.dtype)], dim=1)
