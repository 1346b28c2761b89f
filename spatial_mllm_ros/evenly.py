"""Some of many, spread evenly: of a known number of things, and of a stream that may end at any moment."""

from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


def evenly(count: int, most: int) -> list[int]:
    """Indices of at most ``most`` of ``count`` things: distinct, in order, gaps equal but for rounding.

    All of them where there are no more; else the first and the last are among them, of one the first.
    """
    return np.linspace(0, count - 1, max(min(count, most), 0)).round().astype(int).tolist()


class Thinned(Generic[Item]):
    """Items of a stream, thinned to every 2nd, 4th ... so that never more than ``limit`` are held.

    Attributes:
        items: those held, oldest first; the very first is always among them.
        every: which of the stream they are.
    """

    def __init__(self, limit: int):
        self.items: list[Item] = []
        self.every = 1
        self._limit, self._count = limit, 0

    def wants_next(self) -> bool:
        """Whether the next item will be held; any other may be skipped."""
        return self._count % self.every == 0

    def add(self, item: Item) -> None:
        if self.wants_next():
            self.items.append(item)
            if len(self.items) > self._limit:
                self.every *= 2
                del self.items[1::2]
        self._count += 1

    def skip(self) -> None:
        """Pass over the next item."""
        self._count += 1

    def pick(self, most: int) -> list[Item]:
        """At most so many of those held, the first and the last among them."""
        return [self.items[i] for i in evenly(len(self.items), most)]
