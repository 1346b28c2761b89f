"""One row of a benchmark, and where it was measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from spatial_mllm_ros.doctor import processor, usable_cores

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "data" / "redkitchen_300"


@dataclass(frozen=True)
class Row:
    """A measured figure, what it is compared with, and their ratio; all as text with units."""

    name: str
    figure: str
    baseline: str = ""
    ratio: str = ""


def machine() -> str:
    return f"{processor()}, {usable_cores()} cores, {date.today().isoformat()}"


def show(rows: Iterable[Row]) -> None:
    """Print where this runs, then rows as they come, one a line."""
    print(machine())
    for row in rows:
        print(" | ".join((row.name, row.figure, row.baseline, row.ratio)).rstrip(" |"), flush=True)
