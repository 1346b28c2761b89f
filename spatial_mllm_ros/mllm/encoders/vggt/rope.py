"""Rotary positions in two dimensions: a head's first half turns with the row, its second half with the column."""

from typing import NamedTuple

import torch
from torch import Tensor

BASE = 100.0  # angular frequencies fall from 1 to 1 / BASE radians per patch


class Rotation(NamedTuple):
    """Cosine and sine by which tokens are turned: float32 [L, 2, D/4] each, for (row, column) and each frequency."""

    cos: Tensor
    sin: Tensor

    def repeat(self, times: int) -> "Rotation":
        """The same for ``times`` frames after each other: [times * L, 2, D/4]."""
        return Rotation(self.cos.repeat(times, 1, 1), self.sin.repeat(times, 1, 1))


def grid_positions(rows: Tensor, columns: Tensor, special: int) -> Tensor:
    """(row, column) of every token of a frame: special tokens at (0, 0), then patches row by row.

    Args:
        rows, columns: places of the rows [h] and of the columns [w] of patches, see ``grid.aggregator_inputs``.
    Returns:
        [special + h * w, 2].
    """
    return torch.cat([rows.new_zeros(special, 2), torch.cartesian_prod(rows, columns)])


def rotation(positions: Tensor, head_dim: int) -> Rotation:
    """Rotation of tokens at positions [L, 2] for attention heads of ``head_dim`` D, a multiple of 4.

    RoFormer (Su et al. 2021, section 3.2) for each axis, as in CroCo v2 (Weinzaepfel et al. 2023).
    """
    exponent = torch.arange(head_dim // 4, device=positions.device) / (head_dim // 4)
    angle = positions[:, :, None].float() * BASE**-exponent
    return Rotation(angle.cos(), angle.sin())


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turns queries or keys [..., L, D] in float32; each axis pairs channel i with i + D/4 of its half.

    Returns:
        [..., L, D] in the type of ``x``.
    """
    first, second = x.float().unflatten(-1, (2, 2, -1)).unbind(-2)
    turned = torch.stack([first * by.cos - second * by.sin, second * by.cos + first * by.sin], dim=-2)
    return turned.flatten(-3).to(x.dtype)
