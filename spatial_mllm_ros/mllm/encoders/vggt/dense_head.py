"""The dense heads: from tokens of four layers to a value and a confidence for every pixel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..grid import heads_inputs
from .config import VGGTConfig
from .layers import Float32

POSITION_WEIGHT = 0.1


class ResidualConvUnit(nn.Module):
    """Two 3x3 convolutions, [N, F, h, w] -> same. What is added is the input after its ReLU, as in training."""

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return x + self.conv2(F.relu(self.conv1(x)))


class Fusion(nn.Module):
    """Joins a coarser map with the level below it and enlarges the sum to ``size``."""

    def __init__(self, features: int, coarsest: bool = False):
        super().__init__()
        if not coarsest:
            self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, level: Tensor | None, size: Sequence[int]) -> Tensor:
        if level is not None:
            x = x + self.resConfUnit1(level)
        return self.out_conv(resize(self.resConfUnit2(x), size))


class Scratch(nn.Module):
    """The parts of DPT that are trained from scratch, under their released names."""

    def __init__(self, config: VGGTConfig, out: int):
        super().__init__()
        features = config.dpt_features
        for i, channels in enumerate(config.dpt_out_channels, 1):
            self.add_module(f"layer{i}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
            self.add_module(f"refinenet{i}", Fusion(features, coarsest=i == 4))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, out, 1))

    def fuse(self, levels: Sequence[Tensor]) -> Tensor:
        """Four levels, finest first, [N, channels, h, w] each -> [N, F/2, 2h, 2w] of the finest."""
        levels = [self.get_submodule(f"layer{i}_rn")(level) for i, level in enumerate(levels, 1)]
        sizes = [[2 * side for side in levels[0].shape[-2:]], *(level.shape[-2:] for level in levels)]
        x = self.get_submodule("refinenet4")(levels[3], None, sizes[3])
        for i in (3, 2, 1):
            x = self.get_submodule(f"refinenet{i}")(x, levels[i - 1], sizes[i - 1])
        return self.output_conv1(x)


class DenseHead(Float32):
    """DPT (Ranftl et al., ICCV 2021) on aggregator tokens, with the positions of pixels added (VGGT section 3.3).

    Args:
        values: numbers per pixel: 1 for depth, 3 for points.
        activation: makes them what they mean: ``torch.exp`` for depth, ``signed_expm1`` for points.
    """

    def __init__(self, config: VGGTConfig, values: int, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        dim, channels = 2 * config.embed_dim, config.dpt_out_channels
        self.activation = activation
        self.norm = nn.LayerNorm(dim)
        self.projects = nn.ModuleList(nn.Conv2d(dim, width, 1) for width in channels)
        self.resize_layers = nn.ModuleList(  # to 4, 2, 1 and 1/2 times the patch grid
            [
                nn.ConvTranspose2d(channels[0], channels[0], 4, stride=4),
                nn.ConvTranspose2d(channels[1], channels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(channels[3], channels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config, values + 1)

    def forward(self, tokens: Sequence[Tensor], *places: Tensor) -> tuple[Tensor, Tensor]:
        """Values and confidence of every pixel.

        Args:
            tokens: patch tokens of the four layers, [N, h * w, 2C] each, N frames.
            places: of the rows [h] and columns [w] of patches, and [H], [W] of pixels; see ``grid.heads_inputs``.
        Returns:
            values [N, H, W, values] and confidence [N, H, W] above 1, float32; H, W = h, w times the patch size.
        """
        cells, pixels = places[:2], places[2:]
        grid = [side.shape[0] for side in cells]
        levels = []
        for level, project, scale in zip(tokens, self.projects, self.resize_layers):
            x = self.norm(level.float()).transpose(1, 2).unflatten(2, grid)
            levels.append(scale(add_positions(project(x), cells)))
        x = resize(self.scratch.fuse(levels), [side.shape[0] for side in pixels])
        out = self.scratch.output_conv2(add_positions(x, pixels)).permute(0, 2, 3, 1)
        return self.activation(out[..., :-1]), 1 + out[..., -1].exp()


def signed_expm1(x: Tensor) -> Tensor:
    """The inverse of sign(x) log(1 + |x|): near numbers stay as they are, far ones grow exponentially."""
    return x.sign() * x.abs().expm1()


def signed_log1p(x: Tensor) -> Tensor:
    """The inverse of ``signed_expm1``."""
    return x.sign() * x.abs().log1p()


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """[N, C, h, w] -> [N, C, *size], bilinear, corner pixels on corner pixels."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def places_of(grid: Sequence[int], patch: int, device: torch.device) -> list[Tensor]:
    """``grid.heads_inputs`` as the heads take them."""
    return [torch.from_numpy(value).to(device) for value in heads_inputs(*grid, patch).values()]


def add_positions(x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Adds a tenth of the position embedding to a map [N, C, h, w] whose rows and columns have these places."""
    return x + POSITION_WEIGHT * position_embedding(x.shape[1], *places)


def position_embedding(channels: int, down: Tensor, across: Tensor) -> Tensor:
    """Sines and cosines of the place of every cell, float32 [channels, rows, columns].

    Channels, a quarter each: sin and cos of the column's place, sin and cos of the row's, with frequencies from 1 down
    to 1 / 100.

    Args:
        down, across: places of the rows [rows] and of the columns [columns], see ``grid.heads_inputs``.
    """
    frequency = 100.0 ** -(torch.arange(channels // 4, device=down.device) / (channels // 4))

    def waves(places: Tensor) -> Tensor:  # [channels / 2, cells]
        angle = frequency[:, None] * places
        return torch.cat([angle.sin(), angle.cos()])

    columns = waves(across)[:, None, :].expand(-1, down.shape[0], -1)
    rows = waves(down)[:, :, None].expand(-1, -1, across.shape[0])
    return torch.cat([columns, rows])
