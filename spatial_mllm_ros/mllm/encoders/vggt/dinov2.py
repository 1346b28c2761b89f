"""DINOv2 vision transformer with registers: a frame alone becomes patch tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] -> patch tokens [N, H/p * W/p, C]; H, W multiples of the patch size p."""
        count, _, height, width = images.shape
        x = torch.cat([self.cls_token.expand(count, -1, -1), self.patch_embed(images)], dim=1)
        x = x + self.position_embedding(height // self.patch_size, width // self.patch_size)
        x = torch.cat([x[:, :1], self.register_tokens.expand(count, -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 1 + REGISTERS :])

    def position_embedding(self, rows: int, columns: int) -> Tensor:
        """Position embedding of the class token and a rows x columns grid, [1, 1 + rows * columns, C].

        The stored square grid, resized over its whole extent (bicubic, antialiased, in float32) unless it fits.
        """
        if rows == columns == self.side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].float().unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)
