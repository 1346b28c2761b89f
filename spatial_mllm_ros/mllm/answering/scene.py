"""A clip the model has seen once: what each question about it continues from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from transformers import DynamicCache

from ..families.kv_cache import nbytes, rewind


@dataclass(frozen=True, eq=False)
class Scene:
    """An encoded clip.

    Attributes:
        cache: keys and values of the prompt up to the end of the clip.
        length: tokens of that prompt.
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
        return nbytes(self.cache)

    @contextmanager
    def lent(self) -> Iterator[DynamicCache]:
        """The cache to write questions and answers into; afterwards, however that ended, it is as it was."""
        try:
            yield self.cache
        finally:
            rewind(self.cache, self.length)
