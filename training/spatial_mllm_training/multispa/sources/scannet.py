"""Scans of ScanNet (Dai et al., 2017) as its exporter writes them: colour, depth and poses, one file a frame.

    scene0000_00/
      color/0.jpg  depth/0.png  pose/0.txt      16 bit millimetres; world from camera, -inf where tracking was lost
      intrinsic/intrinsic_color.txt  intrinsic_depth.txt       4x4 matrices
      scene0000_00.txt                          axisAlignment, where it was published; here or one folder up
      scene0000_00.aggregation.json, scene0000_00_vh_clean_2.0.010000.segs.json, scene0000_00_vh_clean_2.ply

Colour and depth are aligned and only differ in size, as the authors say; colour is brought to the pixels of depth.
Frames were recorded at 30 Hz, the number of a file is the number of its frame,
with or without zeros before it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.poses import is_rigid
from spatial_mllm_ros.recordings.images import image_files

from ..item import bad
from ..scene import Scene, Thing
from ..splits import SCANS
from . import stored
from .scannet_things import read_things
from .usable import NO_DEPTH, ROUNDING, content_key, listing, usable

MILLIMETRE = 0.001
RATE = 30  # Hz
Files = dict[int, Path]  # by the number of their frame
UP = np.array([0.0, 0.0, 1.0])
GROUPS, SEGMENTS, MESH = ".aggregation.json", "_vh_clean_2.0.010000.segs.json", "_vh_clean_2.ply"


@dataclass(frozen=True)
class ScanNetRef:
    """The folder of one scan."""

    path: Path
    name: str
    source: str = "scannet"

    def open(self) -> Scene:
        """Read poses and calibration, and the objects where their files are there.

        World is the frame of the scan, turned and moved to its axes where ``axisAlignment`` is published: z up.

        Raises:
            SpatialError: no calibration, no frame, or depth and colour of different shapes.
        """
        with stored.reading(self.name):
            colors, depths = (_numbered(image_files(self.path / kind)) for kind in ("color", "depth"))
            if not colors:
                raise bad(f"{self.name} has no image in color/: expected color/0.jpg and so on")
            poses = _numbered((self.path / "pose").glob("*.txt"))
            alignment, dropped = self._alignment(), Counter[str]()
            if both := colors.keys() & depths.keys():
                dropped += Counter({NO_DEPTH: len(colors) - len(both)})  # which forgets zeros
                colors = {i: file for i, file in colors.items() if i in both}
            frames = self._frames(colors, depths if both else {}, poses, np.eye(4) if alignment is None else alignment)
            frames, lacks = usable(frames, dropped)
            things, why_none = self._things(alignment)
            lacks |= {"things": why_none} if why_none else {}
            lacks["tracks"] = "a scan stands still"
            content = listing([*colors.values(), *depths.values()])
            key = content_key(self.source, content, *(poses[i].read_bytes() for i in colors if i in poses))
            up = None if alignment is None else UP
            return Scene(
                self.name, self.source, frames, key, things=things, lacks=lacks, dropped=dict(dropped), world_up=up
            )

    def _frames(self, colors: Files, depths: Files, poses: Files, world_from_scan: NDArray) -> list[Frame]:
        size = stored.usual_size([*colors.values()])
        depth_size = stored.usual_size([*depths.values()]) if depths else size
        camera = self._camera("depth" if depths else "color", depth_size)
        frames = []
        for i, file in colors.items():
            image, depth = stored.color(file.read_bytes, file.name, size), None
            if depths:
                depth = stored.depth(depths[i].read_bytes, depths[i].name, depth_size, MILLIMETRE)
                image, _ = stored.onto(depth, image, camera)
            place = stored.pose(poses[i]) if i in poses else None
            if place is not None:
                with np.errstate(invalid="ignore"):  # of lost poses
                    place = world_from_scan @ place
            stamp = round(i * 1e9 / RATE)
            frames.append(Frame(stamp, camera, image=image, depth=depth, world_from_camera=place, world_frame="scan"))
        return frames

    def _camera(self, kind: str, size: stored.Size) -> Camera:
        file = f"intrinsic/intrinsic_{kind}.txt"
        if not (self.path / file).is_file():
            raise bad(f"{self.name} has no {file}: export it with the poses")
        return stored.pinhole(stored.numbers(self.path / file), size, file)

    def _alignment(self) -> NDArray[np.float64] | None:
        file = self._beside(".txt")
        line = re.search(r"axisAlignment *=([^\n]*)", file.read_text("utf-8-sig")) if file else None
        try:
            values = np.array(line[1].split(), np.float64) if line else np.zeros(0)
        except ValueError:
            values = np.zeros(1)
        if not values.size:
            return None
        if values.size != 16 or not is_rigid(values.reshape(4, 4), ROUNDING):
            raise bad(f"axisAlignment of {self.name} is no rigid transform of 16 numbers")
        return values.reshape(4, 4)

    def _things(self, alignment: NDArray[np.float64] | None) -> tuple[Sequence[Thing], str]:
        files = {ending: file for ending in (GROUPS, SEGMENTS, MESH) if (file := self._beside(ending))}
        if missing := [ending for ending in (GROUPS, SEGMENTS, MESH) if ending not in files]:
            return (), f"the scan has no {' and no '.join(missing)}"
        if alignment is None:
            return (), "without axisAlignment its boxes would not stand upright"
        things = read_things(files[GROUPS], files[SEGMENTS], files[MESH], alignment)
        return things, "" if things else "no object of the scan is annotated"

    def _beside(self, ending: str) -> Path | None:
        scan = next((name for name in (self.path.name, self.path.parent.name) if SCANS.fullmatch(name)), self.path.name)
        return next((file for at in (self.path, self.path.parent) if (file := at / f"{scan}{ending}").is_file()), None)


def find(path: Path) -> list[Path]:
    """The folder itself where it is one of an exported scan."""
    whole = (path / "color").is_dir() and ((path / "pose").is_dir() or (path / "intrinsic").is_dir())
    return [path] if whole else []


def _numbered(files: Iterable[Path]) -> Files:
    """Files by the number that they are named with, in its order, whatever zeros stand before it."""
    return dict(sorted((int(file.stem), file) for file in files if file.stem.isdecimal()))
