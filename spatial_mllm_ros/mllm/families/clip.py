"""A clip that a model has seen once: what each question about it continues from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

from transformers import DynamicCache, Qwen2_5_VLTextModel

CACHE = "cache" if "cache" in signature(Qwen2_5_VLTextModel.forward).parameters else "past_key_values"
"""What the argument of transformers' models is called that takes a cache: ``past_key_values`` before 5.24."""


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """The prompt up to the end of a clip, read once.

    Attributes:
        cache: keys and values of its tokens, rewound after each question.
        length: how many tokens those are.
        rope_delta: position of the next token less its index (the clip's axes advance slower than its tokens).
        frames: indices of the frames that were encoded, ascending, into those that were given.
        note: what the caller should know about them, else empty.
    """

    cache: DynamicCache
    length: int
    rope_delta: int
    frames: tuple[int, ...]
    note: str = ""

    @property
    def nbytes(self) -> int:
        """Memory held, tokens included that were forgotten but share it with others, bytes."""
        layers: list[Any] = self.cache.layers
        tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    def rewind(self, count: int = 0) -> None:
        """Forget all but the first ``count`` tokens after the clip: exact, whatever happened since, without a copy."""
        layers: list[Any] = self.cache.layers
        for number, layer in enumerate(layers):  # an exception may have left them of different lengths
            if (more := self.cache.get_seq_length(number) - self.length - count) > 0:
                layer.crop(-more)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Questions and answers may be read after it; afterwards, however that ended, it is as it was."""
        try:
            yield
        finally:
            self.rewind()
