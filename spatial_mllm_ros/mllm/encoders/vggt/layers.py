"""The transformer block that the DINOv2 encoder, the aggregator and the camera head are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .rope import Rotation, rotate


class Attention(nn.Module):
    """Self-attention of tokens [N, L, C], with normalised queries and keys where ``qk_norm`` is set."""

    def __init__(self, dim: int, heads: int, qk_norm: bool = False):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, turn: Rotation | None = None) -> Tensor:
        q, k, v = self.project(x, turn)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def project(self, x: Tensor, turn: Rotation | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens [N, L, C], each [N, heads, L, C/heads]."""
        q, k, v = self.qkv(x).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, 1)
        q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        return q, k, v


class Mlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, dim: int, hidden: int, out: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor per channel (CaiT, Touvron et al. 2021, section 2)."""

    def __init__(self, dim: int, initial: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Attention, then an MLP four times as wide, each normalised before, scaled after and added: [N, L, C] -> same.

    Attributes:
        gradient_checkpointing: while training, keep nothing of the forward pass and compute it again: less memory, more
            time. transformers sets it on every part of a model that has it.
    """

    gradient_checkpointing = False

    def __init__(self, dim: int, heads: int, *, scale: float = 0.01, eps: float = 1e-5, qk_norm: bool = False):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qk_norm)
        self.ls1 = LayerScale(dim, scale)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, 4 * dim, dim)
        self.ls2 = LayerScale(dim, scale)

    def forward(self, x: Tensor, turn: Rotation | None = None) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(self._forward, x, turn, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return self._forward(x, turn)

    def _forward(self, x: Tensor, turn: Rotation | None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), turn))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Float32(nn.Module):
    """A part whose weights stay float32 when the model around it is moved to another number format."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        def keep(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device, torch.float32)

        return super()._apply(keep, recurse)
