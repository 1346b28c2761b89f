"""Encoded clips, the least recently used dropped first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class ClipCache(Generic[T]):
    """Clips by key, at most ``max_bytes`` together; the latest is kept even where it alone is larger."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._clips: OrderedDict[Hashable, T] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._clips

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def nbytes(self) -> int:
        return sum(clip.nbytes for clip in self._clips.values())

    def get(self, key: Hashable) -> T | None:
        """The clip, now the latest; None where it is not known (any more)."""
        if key in self._clips:
            self._clips.move_to_end(key)
        return self._clips.get(key)

    def put(self, key: Hashable, clip: T) -> None:
        self._clips[key] = clip
        self._clips.move_to_end(key)
        self.trim()

    def trim(self) -> None:
        """Drop what is over the bound; to be called again when clips have grown."""
        while len(self._clips) > 1 and self.nbytes > self.max_bytes:
            self._clips.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._clips.pop(key, None)

    def clear(self) -> None:
        self._clips.clear()
