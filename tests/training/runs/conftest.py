"""Recipes and folders need no torch; what watches a run does."""

from importlib.util import find_spec
from pathlib import Path

NEED_TORCH = ("test_arguments.py", "test_callbacks.py", "test_parts.py", "test_run.py", "test_saving.py")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name in NEED_TORCH and find_spec("trl") is None else None
