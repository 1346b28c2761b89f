"""Keys and values of tokens that the language model has read: transformers' own cache, rewound after each question."""

from inspect import signature
from typing import Any

from transformers import DynamicCache, Qwen2_5_VLTextModel

CACHE = "cache" if "cache" in signature(Qwen2_5_VLTextModel.forward).parameters else "past_key_values"
"""What the argument of transformers' models is called that takes a cache: ``past_key_values`` before 5.24."""


def rewind(cache: DynamicCache, length: int) -> None:
    """Forget all tokens after the first ``length``: exact, whatever happened since, and without a copy."""
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):  # an exception may have left them of different lengths
        if (more := cache.get_seq_length(number) - length) > 0:
            layer.crop(-more)


def nbytes(cache: DynamicCache) -> int:
    """Memory held, tokens included that were forgotten but share it with others, bytes."""
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
