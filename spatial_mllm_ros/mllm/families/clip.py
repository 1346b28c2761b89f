"""A clip that a model has seen once: what each question about it continues from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from transformers import DynamicCache

from .kv_cache import nbytes, rewind


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """The prompt up to the end of a clip, read once.

    Attributes:
        cache: keys and values of its tokens.
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
        return nbytes(self.cache)

    def rewind(self, count: int = 0) -> None:
        """Forget all but the first ``count`` tokens after the clip."""
        rewind(self.cache, self.length + count)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Questions and answers may be read after it; afterwards, however that ended, it is as it was."""
        try:
            yield
        finally:
            self.rewind()
