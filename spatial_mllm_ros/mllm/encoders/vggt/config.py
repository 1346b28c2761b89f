"""Sizes of a VGGT; the defaults are the released VGGT-1B."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

LARGEST, DEEPEST = 16384, 512  # no size, no number of layers of a real model is above it

# Where checkpoints write each size: spatial_config of a Spatial-MLLM, config.json of a plain VGGT.
KEYS = {
    "img_size": "img_size",
    "patch_size": "patch_size",
    "embed_dim": "embed_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "patch_embed_depth": "patch_embed.depth",
    "patch_embed_heads": "patch_embed.num_heads",
    "camera_heads": "camera_head.num_heads",
    "dpt_features": "dpt_head.features",
    "dpt_out_channels": "dpt_head.out_channels",
    "dpt_layers": "dpt_head.intermediate_layer_idx",
}


@dataclass(frozen=True)
class VGGTConfig:
    """Sizes of the parts of VGGT (Wang et al., CVPR 2025, section 3 and supplement).

    Attributes:
        img_size: side of the square image that the position embedding was trained for, pixels.
        patch_size: side of a patch, pixels.
        embed_dim: width C of the tokens.
        depth, num_heads: pairs of frame and global blocks in the aggregator, and their attention heads.
        patch_embed_depth, patch_embed_heads: the same of the DINOv2 encoder.
        camera_heads: attention heads in the camera head, whose tokens are 2C wide.
        dpt_features, dpt_out_channels: widths of the dense heads: after fusion, and of the four levels before it.
        dpt_layers: the four aggregator layers that the dense heads read, ascending.

    Raises:
        ValueError: a size that cannot be, naming its key and what would be right.
    """

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    patch_embed_depth: int = 24
    patch_embed_heads: int = 16
    camera_heads: int = 16
    dpt_features: int = 256
    dpt_out_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_layers: tuple[int, ...] = (4, 11, 17, 23)

    def __post_init__(self):
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name not in ("dpt_out_channels", "dpt_layers"):
                _check_size(name, value)
            elif not isinstance(value, tuple) or len(value) != 4:
                raise ValueError(f"{KEYS[name]} = {value!r}: expected four integers")
        for value in self.dpt_out_channels:
            _check_size("dpt_out_channels", value, multiple=4, why="two sines and two cosines per position")
        _check_size("dpt_features", self.dpt_features, multiple=8, why="half of them carry the position embedding")
        _check_size("img_size", self.img_size, multiple=self.patch_size, why="whole patches")
        _check_size("embed_dim", self.embed_dim, multiple=4 * self.num_heads, why="rotation of each head in 2D")
        _check_size("embed_dim", self.embed_dim, multiple=self.patch_embed_heads, why="equal heads in patch_embed")
        _check_size("embed_dim", 2 * self.embed_dim, multiple=self.camera_heads, why="equal heads in camera_head")
        for name in ("depth", "patch_embed_depth"):
            if getattr(self, name) > DEEPEST:
                raise ValueError(f"{KEYS[name]} = {getattr(self, name)}: expected at most {DEEPEST}")
        layers = self.dpt_layers
        if not all(type(i) is int and 0 <= i < self.depth for i in layers) or sorted(set(layers)) != list(layers):
            raise ValueError(
                f"{KEYS['dpt_layers']} = {list(layers)}: expected four ascending layers from 0 to {self.depth - 1}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VGGTConfig":
        """Reads the sizes that a checkpoint states; what it leaves out is VGGT-1B. Other keys are ignored.

        Args:
            values: ``spatial_config`` of a Spatial-MLLM or the ``config.json`` of a plain VGGT, nested as in ``KEYS``.
        Raises:
            ValueError: a size that cannot be, or a group that is not a mapping.
        """
        found: dict[str, Any] = {}
        for name, key in KEYS.items():
            group, _, leaf = key.rpartition(".")
            inside = values.get(group, {}) if group else values
            if inside == "dinov2_vitl14_reg":  # patch_embed by its name: the default
                continue
            if not isinstance(inside, Mapping):
                raise ValueError(f"{group} = {inside!r}: expected its sizes by name, such as {leaf}")
            if inside.get(leaf) is not None:
                found[name] = tuple(inside[leaf]) if isinstance(inside[leaf], list) else inside[leaf]
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """The sizes as ``from_dict`` reads them, ready for JSON."""
        out: dict[str, Any] = {}
        for name, key in KEYS.items():
            group, _, leaf = key.rpartition(".")
            value = getattr(self, name)
            (out.setdefault(group, {}) if group else out)[leaf] = list(value) if isinstance(value, tuple) else value
        return out


def _check_size(name: str, value: Any, multiple: int = 1, why: str = "") -> None:
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise ValueError(f"{KEYS[name]} = {value!r}: expected an integer from 1 to {LARGEST}")
    if value % multiple:
        raise ValueError(f"{KEYS[name]} gives {value}: expected a multiple of {multiple} ({why})")
