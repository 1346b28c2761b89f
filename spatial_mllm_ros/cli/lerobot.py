"""What ``annotate --lerobot`` does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal import note, progress

if TYPE_CHECKING:
    from ..config import Config
    from ..mllm.answering.engine import Engine
    from ..motion.targets import Target


def add_episodes(
    bags: Sequence[Path],
    folder: Path,
    map_file: Path | None,
    task: str,
    targets: Collection[Target],
    config: Config,
    engine: Engine | None,
    sources: dict[str, Any],
) -> None:
    """Recordings into a data set, and a line about it."""
    from ..lerobot.convert import Rewarding, write_dataset
    from ..lerobot.map import DatasetMap, Text, read_map

    wanted = read_map(map_file) if map_file else DatasetMap()
    if task:
        wanted = replace(wanted, task=Text(task))
    with progress("writing episodes") as move:
        done = write_dataset(bags, folder, wanted, Rewarding(targets, config, engine, sources), progress=move)
    there = f", {done.resumed} of them from an earlier run" if done.resumed else ""
    note(f"{folder} has {done.episodes} episodes of {done.frames} frames{there}")
