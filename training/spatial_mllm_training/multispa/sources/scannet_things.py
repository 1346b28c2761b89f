"""Boxes of the objects that are annotated in a scan of ScanNet."""

import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.geometry.poses import transform

from ..item import bad
from ..scene import Thing

NOT_THINGS = ("wall", "floor", "ceiling", "object", "unknown", "remove")  # labels without an extent of their own
PLY_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
PLY_TYPES |= {"double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4"}
PLY_TYPES |= {"uint32": "u4", "float32": "f4", "float64": "f8"}


def read_things(groups: Path, segments: Path, mesh: Path, world_from_scan: NDArray[np.float64]) -> list[Thing]:
    """Every annotated object with the box around its vertices, along the axes of the world, z up.

    Args:
        groups: ``*.aggregation.json``: which segments make up an object, and its label.
        segments: ``*.segs.json``: the segment of every vertex. mesh: ``*_vh_clean_2.ply``.
    Raises:
        SpatialError: a file is damaged, or they do not belong together.
    """
    try:
        of_vertex = np.array(json.loads(segments.read_text("utf-8-sig"))["segIndices"], np.int64)
        objects = [(o["label"], o["segments"]) for o in json.loads(groups.read_text("utf-8-sig"))["segGroups"]]
    except (ValueError, KeyError, TypeError) as error:
        raise bad(f"{groups.name} or {segments.name} cannot be read: {error!r}") from None
    points = transform(world_from_scan, vertices(mesh))
    if len(points) != len(of_vertex):
        raise bad(f"{mesh.name} has {len(points)} vertices, {segments.name} speaks of {len(of_vertex)}")
    things = []
    for number, (label, parts) in enumerate(objects):
        mine = points[np.isin(of_vertex, parts)]
        if len(mine) and label.lower() not in NOT_THINGS:
            low, high = mine.min(axis=0), mine.max(axis=0)
            place = np.eye(4)
            place[:3, 3] = (low + high) / 2
            things.append(Thing(f"{number}_{re.sub(r'[^a-z0-9]+', '_', label.lower())}", label, high - low, place))
    return things


def vertices(file: Path) -> NDArray[np.float64]:
    """Vertices of a binary little-endian PLY, float64 [N, 3]. Raises SpatialError where it is none."""
    data = file.read_bytes()
    head, mark, body = data.partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("element vertex")), None)
    if not mark or first is None or "format binary_little_endian 1.0" not in lines:
        raise bad(f"{file.name} is no binary little-endian PLY with vertices")
    if any(line.startswith("element") for line in lines[:first]):
        raise bad(f"{file.name}: vertices are expected as its first element")
    fields: list[tuple[str, str]] = []
    for line in lines[first + 1 :]:
        words = line.split()
        if words[:1] == ["element"]:
            break
        if words[:1] == ["property"]:
            fields.append((words[2], "<" + PLY_TYPES.get(words[1], "V")))
    try:
        table = np.frombuffer(body, np.dtype(fields), int(lines[first].split()[2]))
        return np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float64)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise bad(f"{file.name} is cut off or has no x, y, z: {error}") from None
