"""glibc's malloc, told what this process is: many threads that decode images in turn, and forget all of them at times.

Elsewhere than with glibc there is nothing to do.
"""

from contextlib import suppress
from ctypes import CDLL

M_ARENA_MAX = -8  # of mallopt


def few_arenas() -> None:
    """Let threads share two arenas; by default each core has eight.

    What is freed in one is of no use to the others: images that are decoded now in this thread and now in that one
    left the process twice as large after some minutes.
    """
    with suppress(AttributeError, OSError):
        CDLL(None).mallopt(M_ARENA_MAX, 2)


def give_back() -> None:
    """Return to the system what was freed; by itself malloc does so only at the ends of its arenas."""
    with suppress(AttributeError, OSError):
        CDLL(None).malloc_trim(0)
