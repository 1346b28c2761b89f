"""Rotary positions in two dimensions: a head's first half turns with the row, its second half with the column."""

from typing import NamedTuple

import torch
from torch import Tensor

BASE = 100.0  # angular frequencies fall from 1 to 1 / BASE radians per patch


class Rotation(NamedTuple):
    """How tokens are turned.

    Attributes:
        cos, sin: of each channel, float32 [L, D]; the sine is negative for the first of a pair.
        order: of equal parts of the channels, int64, in which each channel meets the one that it is paired with.
    """

    cos: Tensor
    sin: Tensor
    order: Tensor

    def repeat(self, times: int) -> "Rotation":
        """The same for ``times`` frames after each other: [times * L, D]."""
        return Rotation(self.cos.repeat(times, 1), self.sin.repeat(times, 1), self.order)


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
    return paired(positions[:, :, None].float() * BASE**-exponent)


def paired(angle: Tensor) -> Rotation:
    """Turns channel i of each of A parts of 2n channels with i + n, by angles [L, A, n]."""
    cos, sin = angle.cos(), angle.sin()
    order = torch.arange(2 * angle.shape[1], device=angle.device).view(-1, 2).flip(1).flatten()
    return Rotation(torch.stack([cos, cos], dim=2).flatten(1), torch.stack([-sin, sin], dim=2).flatten(1), order)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turns queries or keys [..., L, D] in float32, all channels at once: each with the one that it is paired with.

    Returns:
        [..., L, D] in the type of ``x``.
    """
    full = x.float()
    other = full.unflatten(-1, (by.order.shape[0], -1)).index_select(-2, by.order).flatten(-2)
    return (full * by.cos + other * by.sin).to(x.dtype)
