"""The aggregator: patch tokens of all frames exchange information, within each frame and across the clip."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..grid import aggregator_inputs
from .config import VGGTConfig
from .dinov2 import DINOv2
from .layers import Block
from .rope import grid_positions, rotation

REGISTERS = 4
SPECIAL = 1 + REGISTERS  # camera token and registers come before the patches of a frame
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB


class Aggregator(nn.Module):
    """Alternating attention (VGGT section 3.2): each layer is a frame block, then a global block.

    The first frame has camera and register tokens of its own: the scene is described in its camera's frame.
    """

    def __init__(self, config: VGGTConfig):
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.patch_size, self.head_dim = config.patch_size, dim // heads
        self.patch_embed = DINOv2(config)
        self.camera_token = nn.Parameter(0.02 * torch.randn(1, 2, 1, dim))  # first frame, all others
        self.register_token = nn.Parameter(0.02 * torch.randn(1, 2, REGISTERS, dim))
        self.frame_blocks = nn.ModuleList(Block(dim, heads, qk_norm=True) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(Block(dim, heads, qk_norm=True) for _ in range(config.depth))

    def forward(self, images: Tensor, layers: Iterable[int] | None = None, chunk: int = 8) -> dict[int, Tensor]:
        """Tokens of the layers asked for.

        Args:
            images: [B, S, 3, H, W] RGB in [0, 1], B clips of S frames; H and W multiples of the patch size.
            layers: which layers to keep, negative ones counted from the end; None: all.
            chunk: frames that go through the DINOv2 encoder together.
        Returns:
            {layer as it was asked for: [B, S, P, 2C]}, frame tokens beside global tokens in the type of the weights;
            P = SPECIAL + patches. Layers after the last one asked for are not run.
        Raises:
            ValueError: images of another shape, a layer that is not there, or no frames in a chunk.
        """
        self._check(images)
        if chunk < 1:
            raise ValueError(f"chunk = {chunk}: expected at least 1 frame")
        depth = len(self.frame_blocks)
        wanted = list(range(depth)) if layers is None else list(layers)
        if bad := [layer for layer in wanted if not -depth <= layer < depth]:
            raise ValueError(f"layer {bad[0]} is not there: expected {-depth} to {depth - 1}")

        patches = self.encode(images, chunk).unflatten(0, images.shape[:2])
        rows, columns = self._of_grid(images)[:2]
        return self.exchange(patches, rows, columns, wanted)

    def encode(self, images: Tensor, chunk: int = 8) -> Tensor:
        """DINOv2 tokens of every frame alone, [B * S, H/p * W/p, C], ``chunk`` frames at a time."""
        with torch.autocast(images.device.type, enabled=False):
            positions = self.patch_embed.position_embedding(*self._of_grid(images)[2:])
        return torch.cat([self.embed(part, positions) for part in images.flatten(0, 1).split(chunk)])

    def embed(self, images: Tensor, positions: Tensor) -> Tensor:
        """DINOv2 tokens [N, h * w, C] of frames [N, 3, H, W] whose position embedding is [1, 1 + h * w, C]."""
        mean, std = (images.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (MEAN, STD))
        normal = ((images.float() - mean) / std).to(self.camera_token.dtype)
        return self.patch_embed(normal, positions)

    def exchange(self, patches: Tensor, rows: Tensor, columns: Tensor, wanted: Sequence[int]) -> dict[int, Tensor]:
        """Tokens of the layers that are wanted, see ``forward``, from DINOv2's of B clips, [B, S, h * w, C].

        Args:
            rows, columns: places of the rows [h] and columns [w] of patches, see ``grid.aggregator_inputs``.
        """
        clips, frames = patches.shape[:2]
        depth = len(self.frame_blocks)
        turn = rotation(grid_positions(rows, columns, SPECIAL), self.head_dim)
        turn_clip = turn.repeat(frames)

        x = torch.cat([self._special(clips, frames), patches.flatten(0, 1)], dim=1)
        kept: dict[int, Tensor] = {}
        for layer in range(1 + max((layer % depth for layer in wanted), default=-1)):
            inside = self.frame_blocks[layer](x, turn)  # [B * S, P, C]
            across = self.global_blocks[layer](inside.unflatten(0, (clips, frames)).flatten(1, 2), turn_clip)
            x = across.unflatten(1, (frames, -1)).flatten(0, 1)
            if names := [name for name in wanted if name % depth == layer]:
                tokens = torch.cat([inside, x], dim=-1).unflatten(0, (clips, frames))
                kept.update(dict.fromkeys(names, tokens))
        return kept

    def _of_grid(self, images: Tensor) -> list[Tensor]:
        """``grid.aggregator_inputs`` of images [..., H, W], where they are."""
        rows, columns = (side // self.patch_size for side in images.shape[-2:])
        given = aggregator_inputs(rows, columns, self.patch_embed.side)
        return [torch.from_numpy(value).to(images.device) for value in given.values()]

    def _special(self, clips: int, frames: int) -> Tensor:
        """Camera and register tokens of every frame, [B * S, SPECIAL, C]."""
        both = torch.cat([self.camera_token, self.register_token], dim=2)
        first, others = both[:, :1], both[:, 1:].expand(-1, frames - 1, -1, -1)
        return torch.cat([first, others], dim=1).expand(clips, -1, -1, -1).flatten(0, 1)

    def _check(self, images: Tensor) -> None:
        shape, p = tuple(images.shape), self.patch_size
        if images.ndim != 5 or shape[2] != 3 or 0 in shape:
            raise ValueError(f"images have shape {list(shape)}: expected [clips, frames, 3, height, width]")
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}: expected floating point in [0, 1]")
        if shape[3] % p or shape[4] % p:
            near = [max(p, round(side / p) * p) for side in shape[3:]]
            raise ValueError(
                f"images of {shape[3]}x{shape[4]} pixels: height and width must be multiples of {p},"
                f" such as {near[0]}x{near[1]}"
            )
