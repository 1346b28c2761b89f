"""Where scenes come from: any path or ``simulated:SEED`` to references that open them one at a time."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

from spatial_mllm_ros.recordings.folder import natural_order

from ..item import bad
from ..scene import SceneRef
from . import bag, rgbd_folder, scannet, tapvid3d

SIMULATED = "simulated:"
LONGEST = 120  # characters of a name, which files are named after
DEEPEST = 4  # folders below the one that was named
KINDS: tuple[tuple[Callable[[Path], list[Path]], Callable[[Path, str], SceneRef]], ...] = (
    (scannet.find, scannet.ScanNetRef),
    (rgbd_folder.find, rgbd_folder.RgbdFolderRef),
    (bag.find, bag.BagRef),
    (tapvid3d.find, tapvid3d.TapVid3dRef),
)
EXPECTED = (
    "a recording (.bag, .mcap, .db3 or its folder), a scan of ScanNet (color/, depth/, pose/, intrinsic/), a sequence"
    " of 7-Scenes (frame-000000.color.png ...) or TUM RGB-D (rgb.txt, depth.txt, groundtruth.txt), .npz files of"
    " TAPVid-3D, or a folder of these"
)
PART = re.compile(r"seq-?\d+|frames|exported|output|images", re.IGNORECASE)  # folders that are named after their parent


def open_sources(specs: Sequence[str]) -> list[SceneRef]:
    """References to all scenes of these sources, sorted by source and name; no name comes twice in a source.

    Args:
        specs: a path whose kind is told by what lies there, a folder of such, or ``simulated:SEED[-SEED]``.
    Raises:
        SpatialError: there is nothing at a path, or no scene.
    """
    found: dict[Path, Callable[[Path, str], SceneRef]] = {}
    refs: list[SceneRef] = []
    for spec in dict.fromkeys(specs):
        if spec.startswith(SIMULATED):
            from .simulated import simulated_refs  # needs a ray caster

            refs += simulated_refs(spec)
            continue
        path = Path(spec)
        if not path.exists():
            raise bad(f"{spec} does not exist: expected {EXPECTED}")
        try:
            scenes = _find(path, DEEPEST)
        except OSError as error:
            raise bad(f"{spec} cannot be read: {error.strerror}") from None
        if not scenes:
            raise bad(f"{spec} holds no scene: expected {EXPECTED}")
        found |= {scene.resolve(): kind for scene, kind in scenes.items()}
    refs += [kind(path, name) for (path, kind), name in zip(found.items(), _names(list(found)))]
    return sorted(dict.fromkeys(refs), key=lambda ref: (ref.source, natural_order(Path(ref.name))))


def _find(path: Path, deeper: int) -> dict[Path, Callable[[Path, str], SceneRef]]:
    """Scenes at a path and in folders below it; what lies inside of a scene is its own."""
    found = {scene: kind for find, kind in KINDS for scene in find(path)}
    if path in found or not path.is_dir() or not deeper:
        return found
    for below in sorted(path.iterdir()):
        if below.is_dir() and not below.name.startswith("."):
            found |= _find(below, deeper - 1)
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each, of as few parts of its path as tell it from the others."""
    length = [1 + sum(1 for _ in takewhile(PART.fullmatch, reversed(path.parts))) for path in paths]
    names = [_name(path, n, False) for path, n in zip(paths, length)]
    for _ in range(DEEPEST):
        count = Counter(names)
        for i, path in enumerate(paths):
            if count[names[i]] > 1:
                names[i] = _name(path, length[i], True)
                length[i] += 1
    taken = Counter[str]()
    for i, name in enumerate(names):
        taken[name] += 1
        names[i] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return names


def _name(path: Path, length: int, whole: bool) -> str:
    last = path.name if whole or path.is_dir() else path.stem
    name = re.sub(r"[^\w.-]", "_", ".".join((*path.parts[-length:-1], last)), flags=re.ASCII)
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
