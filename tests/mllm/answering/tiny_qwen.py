"""A random Qwen2.5-VL language model of two layers, and a clip in it: what decoding needs, without a checkpoint."""

import torch
from transformers import DynamicCache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from spatial_mllm_ros.mllm.families.clip import CACHE, EncodedClip
from spatial_mllm_ros.mllm.families.spatial_mllm.loaded import SpatialMLLM

VOCABULARY = 64
PREFIX = [3, 1, 4, 1, 5, 9, 2, 6, 5]
DELTA = -4  # as after a clip: positions lag behind the number of tokens


def make_model(seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(seed)
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        "initializer_range": 0.4,  # far from uniform: a wrong cache shows
    }
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def reader(model: Qwen2_5_VLForConditionalGeneration) -> SpatialMLLM:
    """The same as answering knows it; it reads, and has no words."""
    return SpatialMLLM("tiny", model, None)  # type: ignore[arg-type]


def read_clip(model: Qwen2_5_VLForConditionalGeneration, prefix: list[int] = PREFIX) -> EncodedClip:
    """The prefix read into a fresh cache; DELTA applies to what follows it."""
    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([prefix]), position_ids=prefix_positions(prefix), **{CACHE: cache})
    return EncodedClip(cache, len(prefix), DELTA, (0,))


def prefix_positions(prefix: list[int]) -> torch.Tensor:
    return torch.arange(len(prefix)).expand(3, 1, -1)


@torch.inference_mode()
def log_probabilities(model, tokens: list[int], prefix: list[int] = PREFIX) -> torch.Tensor:
    """The same without a cache: what follows each of ``tokens`` after the prefix, [len(tokens), vocabulary]."""
    after = torch.arange(len(prefix), len(prefix) + len(tokens)).expand(3, 1, -1) + DELTA
    positions = torch.cat([prefix_positions(prefix), after], dim=-1)
    logits = model(input_ids=torch.tensor([prefix + tokens]), position_ids=positions, use_cache=False).logits
    return logits[0, len(prefix) :].log_softmax(-1)
