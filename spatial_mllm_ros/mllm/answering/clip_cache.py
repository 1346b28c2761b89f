"""Encoded clips, the least recently used dropped first."""

from collections import OrderedDict
from collections.abc import Hashable

from ..families.clip import EncodedClip


class ClipCache(OrderedDict[Hashable, EncodedClip]):
    """Clips by key, at most ``max_bytes`` together; the latest is kept even where it alone is larger."""

    def __init__(self, max_bytes: int):
        super().__init__()
        self.max_bytes = max_bytes

    @property
    def nbytes(self) -> int:
        return sum(clip.nbytes for clip in self.values())

    def use(self, key: Hashable) -> EncodedClip | None:
        """The clip, now the latest; None where it is not known (any more)."""
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def put(self, key: Hashable, clip: EncodedClip) -> None:
        self[key] = clip
        self.move_to_end(key)
        self.trim()

    def trim(self) -> None:
        """Drop what is over the bound; to be called again when clips have grown."""
        while len(self) > 1 and self.nbytes > self.max_bytes:
            self.popitem(last=False)
