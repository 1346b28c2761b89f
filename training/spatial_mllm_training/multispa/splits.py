"""Which scenes are for training and which for testing; no place is in both."""

import hashlib
import re
from collections.abc import Iterable

from .item import bad

SPLITS = ("train", "test")
SCANS = re.compile(r"(scene\d{4})_\d{2}")  # ScanNet names its scans of one room like this


def place(source: str, name: str, key: str) -> str:
    """What must not be divided: the room of a ScanNet scan, else the scene by its content, under whatever name."""
    scan = SCANS.fullmatch(name) if source == "scannet" else None
    return f"{source}/{scan[1]}" if scan else key


def split_of(place: str, test_share: float) -> str:
    """``test`` for that share of all places, by a hash of the place alone.

    A place stays where it is when others come, and under every seed of the questions.
    """
    fraction = int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") / 2**64
    return "test" if fraction < test_share else "train"


def check_disjoint(scenes: Iterable[tuple[str, str, str]]) -> None:
    """Of (split, scene, key of its content): no scene and no content is in two splits. Raises SpatialError."""
    seen: dict[str, tuple[str, str]] = {}
    for split, scene, key in scenes:
        for what in (f"scene {scene}", f"content {key}"):
            other, name = seen.setdefault(what, (split, scene))
            if other != split:
                same = f"the scene {scene}" if name == scene else f"{name} and {scene}, which are the same scene,"
                raise bad(f"{same} would be in both {other} and {split}: keep it in one")


def shares(total: int, counts: dict[str, int]) -> dict[str, int]:
    """``total`` questions divided among splits by their number of scenes, whole, with the sum ``total``."""
    scenes, out, taken, before = sum(counts.values()), {}, 0, 0
    for split, count in counts.items():
        before += count
        out[split] = round(total * before / scenes) - taken if scenes else 0
        taken += out[split]
    return out
