"""One recording as the data engine sees it: frames, exact things, and points that were followed, all read lazily."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.frames import Frame

PARTS = ("depth", "pose", "things", "tracks")
NOT_RIGID = "a pose that is not rigid"  # why a frame is left out


@dataclass(frozen=True, eq=False)
class Thing:
    """An object whose box is known.

    Attributes:
        name: unique in its scene; label: what it is, as people say it, like ``coffee table``.
        size: extent of its box, float64 [3] metres, in its own frame (z up).
        world_from_thing: pose of the box's centre at rest, float64 [4, 4].
        moving: it moves during the recording.
    """

    name: str
    label: str
    size: NDArray[np.float64]
    world_from_thing: NDArray[np.float64]
    moving: bool = False


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points that were followed through the frames of a scene.

    Attributes:
        points: in the world, float64 [T, P, 3] metres; NaN where not known.
        visible: bool [T, P], seen in that frame.
        pixels: float64 [T, P, 2], (u, v) in that frame's image; NaN where not known.
        bodies: int64 [P], which rigid body a point belongs to, where that is known (-1: it stays); else None.
    """

    points: NDArray[np.float64]
    visible: NDArray[np.bool_]
    pixels: NDArray[np.float64]
    bodies: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """See the module.

    Attributes:
        name: unique in its source, of ``[A-Za-z0-9_.-]``; source: the kind of source.
        frames: in order of time. Image and depth have the same pixels and camera; poses may be None.
        key: hash of the content that the source can give without decoding all of it; seeds come from it.
        things: objects with known boxes. tracks: called at most once by who needs it; None where there are none.
        instance_map: of a frame's number: int32 [H, W], index into ``things``, -1 elsewhere; None where unknown.
        lacks: what is not there, and why: keys of PARTS.
        vocabulary: labels that scenes of this source can have; some of them are not in this one.
        world_up: unit vector float64 [3], or None where it is not known.
        dropped: how many frames of the recording are not in ``frames``, by reason.
    """

    name: str
    source: str
    frames: Sequence[Frame]
    key: str
    things: Sequence[Thing] = ()
    tracks: Callable[[], Tracks] | None = None
    instance_map: Callable[[int], NDArray[np.int32]] | None = None
    lacks: dict[str, str] = field(default_factory=dict)
    vocabulary: Sequence[str] = ()
    world_up: NDArray[np.float64] | None = None
    dropped: dict[str, int] = field(default_factory=dict)

    def missing(self, parts: Sequence[str]) -> str:
        """Why a task that needs these parts cannot be asked here; empty where it can."""
        return "; ".join(f"no {part}: {self.lacks[part]}" for part in parts if part in self.lacks)


class SceneRef(Protocol):
    """A scene that can be opened, in this process or another: small and picklable."""

    @property
    def source(self) -> str:
        """As of the scene that it opens."""
        ...

    @property
    def name(self) -> str:
        """As of the scene that it opens."""
        ...

    def open(self) -> Scene:
        """Read what is needed to know the scene. Raises SpatialError with what is wrong with it."""
        ...
