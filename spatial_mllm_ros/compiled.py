"""Functions compiled by numba: kept on disk where there is a place for them, else for this process alone."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

NO_PLACE = (
    "compiled code cannot be kept, for neither this package nor the home folder can be written: every start compiles it"
    " anew; set NUMBA_CACHE_DIR to a folder of your own that can be written"
)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a function on first use.

    Machine code is kept in NUMBA_CACHE_DIR where that is set, else beside the source or in the user's cache. Where none
    of them can be written, that is warned about once.

    Args:
        options: of ``numba.njit``, without ``cache``.
    """

    def compile(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, cache=True, **options)
        except RuntimeError:  # numba found no place for a cache
            _say_no_place()
            return numba.njit(function, **options)

    return compile


@cache
def _say_no_place() -> None:
    """Once: Python itself would say it again after every change of its filters."""
    warnings.warn(NO_PLACE, RuntimeWarning, stacklevel=2)
