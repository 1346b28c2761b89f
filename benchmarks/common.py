"""What benchmarks share: one row of them, where it was measured and on what, and how time and memory are."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

from spatial_mllm_ros.doctor import processor, usable_cores

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "data" / "redkitchen_300"


@dataclass(frozen=True)
class Row:
    """A measured figure, what it is compared with, and their ratio; all as text with units."""

    name: str
    figure: str
    baseline: str = ""
    ratio: str = ""


def recording(folder: Path) -> Path:
    """The recording beside this checkout, or a simulated one, made in a folder, where that is absent."""
    if RECORDING.exists():
        return RECORDING
    from spatial_mllm_ros.simulation import simulate

    simulate(folder / "room.mcap", seed=0, duration=5)
    return folder / "room.mcap"


def timed(call: Callable[..., Any], *given: Any, clock: Callable[[], float] = perf_counter, **named: Any) -> Any:
    """Seconds that a call took, and what it returned."""
    start = clock()
    returned = call(*given, **named)
    return clock() - start, returned


def resident_mb(process: int | str = "self") -> float:
    """Resident memory of a process, MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine() -> str:
    return f"{processor()}, {usable_cores()} cores, {date.today().isoformat()}"


def show(rows: Iterable[Row]) -> None:
    """Print where this runs, then rows as they come, one a line."""
    print(machine())
    for row in rows:
        print(" | ".join((row.name, row.figure, row.baseline, row.ratio)).rstrip(" |"), flush=True)
