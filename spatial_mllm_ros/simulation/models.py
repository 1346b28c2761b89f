"""A model: what one thing is made of, before it is placed in a room."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .meshes import Mesh

Rng = np.random.Generator


@dataclass(frozen=True)
class Model:
    """One thing in its own frame: origin at the centre of its bounding box, z up, its front towards +y.

    Attributes:
        label: what people call it.
        meshes: its surfaces.
        size: float64 [3], extent of the bounding box, metres.
        top: (width, depth) of the surface on its top that can carry small things, metres, or None.
        color: name of its colour, empty where it has no single one.
    """

    label: str
    meshes: list[Mesh]
    size: NDArray[np.float64]
    top: tuple[float, float] | None = None
    color: str = ""


@dataclass
class Parts:
    """Collects meshes and makes them a Model about their common centre."""

    meshes: list[Mesh] = field(default_factory=list)

    def __iadd__(self, meshes: Mesh | Iterable[Mesh]) -> "Parts":
        self.meshes.extend([meshes] if isinstance(meshes, Mesh) else meshes)
        return self

    def model(self, label: str, top: tuple[float, float] | None = None, color: str = "") -> Model:
        low = np.min([m.vertices.min(axis=0) for m in self.meshes], axis=0)
        high = np.max([m.vertices.max(axis=0) for m in self.meshes], axis=0)
        centre = (low + high) / 2
        return Model(label, [m.moved(-centre) for m in self.meshes], high - low, top, color)


Builder = Callable[[Rng], Model]
