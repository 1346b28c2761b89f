"""Sizes of a Spatial-MLLM: Qwen2.5-VL's configuration with the spatial encoder's and the connector's beside it."""

import re
from collections.abc import Mapping
from typing import Any, cast

from transformers import AutoConfig, Qwen2_5_VLConfig, Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig

from ...encoders.vggt import VGGTConfig
from .packing import MERGE, PAIR, PATCH

ARCHITECTURE = "SpatialMLLMForConditionalGeneration"
CONNECTOR = "mlp_add"
MOST = {"num_hidden_layers": 512, "depth": 512, "num_labels": 512}
"""No real model has more; each is built, or listed, one by one before any size is compared."""


LOADERS = re.compile(r"_implementation(_internal)?$|^(use_kernels?|kernel_config|auto_map|trust_remote_code)$|^quantiz")


class SpatialMLLMConfig(Qwen2_5_VLConfig):
    """Configuration of a Spatial-MLLM, as released (flat) or as current transformers writes it (nested).

    Attributes:
        spatial_config: sizes of the VGGT, see ``VGGTConfig.from_dict``; what it leaves out is VGGT-1B.
        connector_config: ``connector_type``, which must be ``mlp_add``, and ``spatial_embeds_layer_idx``, the layer of
            the aggregator whose tokens are fused, negative ones counted from the end.

    Raises:
        ValueError: sizes that do not fit together, naming them.
    """

    model_type = "spatial-mllm"

    spatial_config: dict | None = None
    connector_config: dict | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration that ``config.json`` states. Raises ValueError as the class does."""
        check_counts(config_dict)
        return super().from_dict(without_loaders(config_dict), **kwargs)

    def __post_init__(self, **kwargs: Any):
        super().__post_init__(**kwargs)
        for name in ("spatial_config", "connector_config"):
            if not isinstance(value := getattr(self, name) or {}, dict):
                raise ValueError(f"{name} = {value!r}: expected an object")
        self.spatial_config = dict(self.spatial_config or {})
        self.connector_config = {
            "connector_type": CONNECTOR,
            "spatial_embeds_layer_idx": -1,
            **(self.connector_config or {}),
        }
        kind, layer = self.connector_config["connector_type"], self.connector_config["spatial_embeds_layer_idx"]
        if kind != CONNECTOR:
            raise ValueError(f"connector_type '{kind}' is unknown: expected {CONNECTOR}")
        vggt, vision = self.vggt, self.vision
        if type(layer) is not int or not -vggt.depth <= layer < vggt.depth:
            raise ValueError(
                f"spatial_embeds_layer_idx {layer!r}: expected a layer from {-vggt.depth} to {vggt.depth - 1}"
            )
        for name, part, ours in (
            ("patch_size", vision, PATCH),
            ("patch_size", vggt, PATCH),
            ("spatial_merge_size", vision, MERGE),
            ("temporal_patch_size", vision, PAIR),
        ):
            if getattr(part, name) != ours:
                raise ValueError(f"{name} = {getattr(part, name)!r}: expected {ours}")
        if vision.num_heads < 1 or vision.hidden_size % vision.num_heads:
            raise ValueError(f"num_heads = {vision.num_heads}: expected a divisor of hidden_size {vision.hidden_size}")
        if vision.window_size < PATCH * MERGE:
            raise ValueError(f"window_size = {vision.window_size}: expected at least {PATCH * MERGE}")
        check_language(self.text)
        for name in ("image_token_id", "video_token_id"):
            if not 0 <= getattr(self, name) < self.text.vocab_size:
                raise ValueError(f"{name} = {getattr(self, name)}: expected one of {self.text.vocab_size} tokens")

    @property
    def text(self) -> Qwen2_5_VLTextConfig:
        """Sizes of the language model."""
        return cast(Qwen2_5_VLTextConfig, self.text_config)

    @property
    def vision(self) -> Qwen2_5_VLVisionConfig:
        """Sizes of the 2D encoder."""
        return cast(Qwen2_5_VLVisionConfig, self.vision_config)

    @property
    def vggt(self) -> VGGTConfig:
        """Sizes of the spatial encoder."""
        return VGGTConfig.from_dict(self.spatial_config or {})

    @property
    def spatial_layer(self) -> int:
        """Layer of the aggregator whose tokens are fused."""
        return (self.connector_config or {})["spatial_embeds_layer_idx"]


def without_loaders(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what would have transformers fetch or import code: it runs with what it has.

    ``"_attn_implementation": "owner/kernel"`` loads code from the hub, in any part of a configuration.
    """
    kept = {name: value for name, value in values.items() if not LOADERS.search(str(name))}
    return {name: without_loaders(value) if isinstance(value, Mapping) else value for name, value in kept.items()}


def check_counts(values: Mapping[str, Any]) -> None:
    """Raises ValueError where a configuration, or a part of it, counts more than ``MOST``."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            check_counts(value)
        elif isinstance(value, int) and value > MOST.get(name, value):
            raise ValueError(f"{name} = {value}: expected at most {MOST[name]}")


def check_language(text: Qwen2_5_VLTextConfig) -> None:
    """Raises ValueError unless the rotary positions on three axes fit the attention heads."""
    if text.num_attention_heads < 1 or text.hidden_size % text.num_attention_heads:
        heads = text.num_attention_heads
        raise ValueError(f"num_attention_heads = {heads}: expected a divisor of hidden_size {text.hidden_size}")
    rope = text.rope_parameters or {}
    section: Any = rope.get("mrope_section", [16, 24, 24])
    pairs = text.hidden_size // text.num_attention_heads // 2
    whole = isinstance(section, list) and len(section) == 3 and all(type(n) is int and n > 0 for n in section)
    if not whole or sum(section) != pairs:
        raise ValueError(f"mrope_section = {section!r}: expected three numbers whose sum is {pairs}")
    theta = rope.get("rope_theta")
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not theta > 1:
        raise ValueError(f"rope_theta = {theta!r}: expected a number above 1")


AutoConfig.register(SpatialMLLMConfig.model_type, SpatialMLLMConfig)
