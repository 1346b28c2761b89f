"""Keys and values of tokens the language model has read, in buffers that are written in place and rewound for free."""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

ROOM = 256  # tokens a buffer grows by: a question and a short answer


class GrowingLayer(CacheLayerMixin):
    """One layer's keys and values, [1, heads, room, head_dim], of which the first ``length`` tokens count.

    transformers' own dynamic layer copies everything it holds for each new token; this one writes the new token only.
    """

    is_sliding = False

    def __init__(self):
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[3]))
        self.values = value_states.new_empty((*value_states.shape[:2], 0, value_states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Append tokens; returns all keys and all values so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys, self.values = (self._grown(buffer, end + ROOM) for buffer in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grown(self, buffer: Tensor, room: int) -> Tensor:
        larger = buffer.new_empty((*buffer.shape[:2], room, buffer.shape[3]))
        larger[:, :, : self.length] = buffer[:, :, : self.length]
        return larger

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        return -1  # none

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in (self.keys, self.values) if buffer is not None)


class KVCache(Cache):
    """What the language model remembers of the tokens it has read; give it as ``past_key_values``."""

    layers: list[GrowingLayer]  # type: ignore[assignment]

    def __init__(self):
        super().__init__(layer_class_to_replicate=GrowingLayer)

    def rewind(self, length: int) -> None:
        """Forget all tokens after the first ``length``: exact, whatever happened since, and without a copy."""
        for layer in self.layers:
            layer.length = min(layer.length, length)

    @property
    def device(self) -> torch.device:
        keys = self.layers[0].keys
        assert keys is not None, "nothing was read yet"
        return keys.device

    @property
    def nbytes(self) -> int:
        """Memory held, room for more tokens included, bytes."""
        return sum(layer.nbytes for layer in self.layers)
