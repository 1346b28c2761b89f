"""Encoded scenes, the least recently used dropped first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class SceneCache(Generic[T]):
    """Scenes by key, at most ``max_bytes`` together; the latest is kept even where it alone is larger."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._scenes: OrderedDict[Hashable, T] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._scenes

    def __len__(self) -> int:
        return len(self._scenes)

    @property
    def nbytes(self) -> int:
        return sum(scene.nbytes for scene in self._scenes.values())

    def get(self, key: Hashable) -> T | None:
        """The scene, now the latest; None where it is not known (any more)."""
        if key in self._scenes:
            self._scenes.move_to_end(key)
        return self._scenes.get(key)

    def put(self, key: Hashable, scene: T) -> None:
        self._scenes[key] = scene
        self._scenes.move_to_end(key)
        self.trim()

    def trim(self) -> None:
        """Drop what is over the bound; to be called again when scenes have grown."""
        while len(self._scenes) > 1 and self.nbytes > self.max_bytes:
            self._scenes.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._scenes.pop(key, None)

    def clear(self) -> None:
        self._scenes.clear()
