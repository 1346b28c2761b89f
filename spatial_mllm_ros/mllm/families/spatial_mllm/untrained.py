"""Checkpoints with random weights: complete in every file, and knowing nothing. For tests, demos and benchmarks."""

from collections.abc import Iterator
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ...weights.saving import new_folder, save_shards, write_json
from .config import ARCHITECTURE, SpatialMLLMConfig
from .loading import empty_model, released_name
from .tokenizer import build_tokenizer

GAIN = 2.0  # of the language model, so that its layers outweigh the token they began from

QWEN_3B: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128000,
    "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 2048,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "window_size": 112,
    },
}
TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [2, 3, 3]},
    "vision_config": {
        "depth": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1, 3],
        "window_size": 56,
    },
    "spatial_config": {
        "img_size": 56,
        "patch_size": 14,
        "embed_dim": 64,
        "depth": 4,
        "num_heads": 4,
        "patch_embed": {"depth": 2, "num_heads": 4},
        "camera_head": {"num_heads": 4},
        "dpt_head": {"features": 32, "out_channels": [16, 32, 48, 48], "intermediate_layer_idx": [0, 1, 2, 3]},
    },
}
SIZES = {"tiny": TINY, "3b": QWEN_3B}
PIXELS = {"tiny": (3136, 12544), "3b": (293216, 324576)}
"""Pixels of a frame, least and most; of 3b: those of the released checkpoints."""


def released_config(size: str = "3b") -> dict[str, Any]:
    """``config.json`` in the keys of the released checkpoints, with Qwen2.5-VL's token ids.

    ``3b`` is Spatial-MLLM v1.1 (Qwen2.5-VL-3B and VGGT-1B), ``tiny`` the same parts a few thousand times smaller.
    """
    if size not in SIZES:
        raise ValueError(f"size '{size}' is unknown: expected {', '.join(SIZES)}")
    sizes = deepcopy(SIZES[size])  # transformers writes into what it is given
    vision = {"model_type": "qwen2_5_vl", "hidden_act": "silu", "in_channels": 3, "in_chans": 3, "patch_size": 14}
    vision |= {"spatial_patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2}
    return {
        "architectures": [ARCHITECTURE],
        "model_type": "spatial-mllm",
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_window_layers": 70,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "use_cache": True,
        "use_sliding_window": False,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "torch_dtype": "bfloat16" if size == "3b" else "float32",
        "connector_config": {"connector_type": "mlp_add", "spatial_embeds_layer_idx": -1},
        "spatial_config": {"model_type": "vggt_spatial_encoder", "img_size": 518, "patch_size": 14, "embed_dim": 1024},
        **sizes,
        "vision_config": {**vision, **sizes["vision_config"]},
    }


def make_untrained(path: str | Path, size: str = "tiny", seed: int = 0) -> Path:
    """Writes a Spatial-MLLM with random weights: configuration, safetensors, tokenizer, processor, chat template.

    The layout is that of the released checkpoints; the tokenizer is byte-level with Qwen2.5-VL's control tokens. The
    same seed gives the same weights.

    Args:
        path: folder to write, new or empty.
        size: ``tiny`` (float32, 14 MB, loads at once; frames of about 56x56 to 112x112 pixels) or ``3b`` (bfloat16, the
            sizes of v1.1, 10 GB).
    Raises:
        ValueError: another size.
        ModelError: ``path`` is there and not empty.
    """
    tokenizer = build_tokenizer()
    config = released_config(size) | control_tokens(tokenizer)
    config.setdefault("vocab_size", len(tokenizer))
    return write_model(Path(path), config, PIXELS[size], tokenizer, random_weights(config, seed))


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """What ``config.json`` says of them."""
    tokens = {
        "eos_token_id": "<|im_end|>",
        "bos_token_id": "<|endoftext|>",
        "pad_token_id": "<|endoftext|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    return {key: int(tokenizer.convert_tokens_to_ids(token)) for key, token in tokens.items()}  # type: ignore[arg-type]


def write_model(
    path: Path,
    config: dict[str, Any],
    pixels: tuple[int, int],
    tokenizer: PreTrainedTokenizerFast,
    weights: Iterator[tuple[str, Tensor]],
) -> Path:
    """Writes every file of a Spatial-MLLM whose frames have ``pixels``, least and most. Raises as ``new_folder``."""
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with new_folder(path) as part:
        write_json(part / "config.json", config)
        write_json(part / "generation_config.json", {**ends, "do_sample": False})
        write_json(part / "preprocessor_config.json", preprocessor_config(*pixels))
        tokenizer.save_pretrained(part)
        write_json(part / "chat_template.json", {"chat_template": tokenizer.chat_template})
        save_shards(part, weights)
    return path


def preprocessor_config(min_pixels: int, max_pixels: int) -> dict[str, Any]:
    """``preprocessor_config.json`` as Qwen2.5-VL has it."""
    return {
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }


def random_weights(config: dict[str, Any], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors by their released names: signals keep their size from layer to layer, and answers differ by input."""
    dtype = getattr(torch, config["torch_dtype"])
    generator = torch.Generator().manual_seed(seed)
    model = empty_model(SpatialMLLMConfig.from_dict(dict(config)))
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 1:
            value = noise * 0.1 + (0.0 if name.endswith("bias") else 1.0)
        elif "embed_tokens" in name or "token" in name or "pos_embed" in name:
            value = noise * 0.3
        else:
            gain = GAIN if name.startswith("model.language_model.") else 1.0
            value = noise * gain / prod(parameter.shape[1:]) ** 0.5
        yield released_name(name), value.to(dtype)
