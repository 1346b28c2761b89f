"""Where things stand: a shell of walls, furniture along them and in the middle, small things on tops and on the floor.

World frame: origin at the centre of the floor, x along the room's width, z up. Everything is placed by its bounding box
and no two boxes meet.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import furniture, things
from .materials import Texture, patterned
from .meshes import Mesh, panel
from .models import Model, Parts, Rng
from .shell import RUGS, shell

FLOOR = 0.002  # m; things stand this high, so that a rug fits below them
LIFT = 0.0005  # m between a thing and the top it stands on
GAP = 0.02  # m beside things
WALLS = 4  # wall i faces the room with the yaw i * 90 degrees: 0 at -y, 1 at +x, 2 at +y, 3 at -x


@dataclass
class Placed:
    """A model at a pose; ``support`` is the index of what it stands on, -1 for floor or wall."""

    name: str
    model: Model
    world_from_object: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    support: int = -1


@dataclass
class Layout:
    """A room in the making.

    Attributes:
        size: width, depth and height, metres.
        shell: walls, floor and what is fixed to them.
        placed: everything that has a name, in order of placing.
        kept_free: boxes (low, high) that nothing may enter: the swing of the door, tracks of pushes.
    """

    size: NDArray[np.float64]
    shell: list[Mesh] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    kept_free: list[tuple[NDArray, NDArray]] = field(default_factory=list)
    names: Counter = field(default_factory=Counter)

    def free(self, low: NDArray, high: NDArray, gap: float = GAP, ignore: int = -1) -> bool:
        """Whether a box is inside the room and at least gap metres beside everything placed but ``ignore``."""
        half, gaps = self.size / [2, 2, 1], np.array([gap, gap, 0])
        if (low < [-half[0], -half[1], 0]).any() or (high > half).any():
            return False
        boxes = [(p.low, p.high) for i, p in enumerate(self.placed) if i != ignore] + self.kept_free
        return not any((low < h + gaps).all() and (high > b - gaps).all() for b, h in boxes)

    def add(self, model: Model, pose: NDArray, support: int = -1) -> None:
        """Place a model without asking."""
        self.names[model.label] += 1
        name = f"{model.label.replace(' ', '_')}_{self.names[model.label]}"
        self.placed.append(Placed(name, model, pose, *bounds(model, pose), support))

    def try_add(self, model: Model, pose: NDArray, gap: float = GAP, support: int = -1) -> bool:
        """Place a model if it is free there."""
        free = self.free(*bounds(model, pose), gap)
        if free:
            self.add(model, pose, support)
        return free


def pose(x: float, y: float, z: float, yaw: float) -> NDArray[np.float64]:
    """Upright transform [4, 4]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


def bounds(model: Model, world_from_object: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners (low, high) of the world-aligned box around a placed model's box, [3] metres each."""
    half = np.abs(world_from_object[:3, :3]) @ (model.size / 2)
    return world_from_object[:3, 3] - half, world_from_object[:3, 3] + half


def furnish(rng: Rng) -> Layout:
    """A room of a random kind with everything that stands still."""
    kind = str(rng.choice(list(furniture.ALONG_WALLS)))
    size = np.array([rng.uniform(4.2, 5.8), rng.uniform(3.8, 5.0), rng.uniform(2.45, 2.75)])
    room = Layout(size)
    window_wall, door_wall = (int(i) for i in rng.choice(WALLS, 2, replace=False))
    _on_wall(rng, room, things.window(rng), window_wall, low=rng.uniform(0.45, 0.55))
    if _on_wall(rng, room, things.door(rng), door_wall, low=0.0):
        _keep_free_before(room, room.placed[-1], 0.8)
    _middle(rng, room, kind)
    extras = rng.choice(np.array(furniture.EXTRAS, object), 3, replace=False)
    for build in [*furniture.ALONG_WALLS[kind], *extras]:
        _along_wall(rng, room, build(rng))
    for build in rng.choice(np.array([things.picture, things.picture, things.wall_shelf], object), 9):
        _on_wall(rng, room, build(rng), int(rng.integers(WALLS)), low=rng.uniform(1.25, 1.5))
    _small_things(rng, room)
    room.shell = shell(rng, room)
    return room


def wall_pose(room: Layout, wall: int, along: float, low: float, model: Model) -> NDArray[np.float64]:
    """Back against a wall, its middle at ``along`` metres from the wall's centre, its underside at ``low``."""
    yaw = wall * np.pi / 2
    reach = room.size[1 if wall % 2 == 0 else 0] / 2 - model.size[1] / 2 - 1e-3
    inwards = np.array([-np.sin(yaw), np.cos(yaw)])
    sideways = np.array([np.cos(yaw), np.sin(yaw)])
    x, y = -inwards * reach + sideways * along
    return pose(x, y, low + model.size[2] / 2, yaw)


def _on_wall(rng: Rng, room: Layout, model: Model, wall: int, low: float) -> bool:
    room_for = room.size[wall % 2] / 2 - model.size[0] / 2 - 0.1
    return any(
        room.try_add(model, wall_pose(room, wall, along, low, model)) for along in rng.uniform(-room_for, room_for, 12)
    )


def _along_wall(rng: Rng, room: Layout, model: Model) -> None:
    """Furniture with its back to a wall, far enough from it for the baseboard; a desk gets its chair."""
    for _ in range(40):
        wall = int(rng.integers(WALLS))
        room_for = room.size[wall % 2] / 2 - model.size[0] / 2 - 0.04
        at = wall_pose(room, wall, rng.uniform(-room_for, room_for), FLOOR, model)
        at[:2, 3] += at[:2, 1] * GAP
        if room.try_add(model, at, gap=0.04):
            if model.label == "desk":
                _chair_at(rng, room, at, model, 1)
            return


def _chair_at(rng: Rng, room: Layout, table: NDArray, model: Model, side: int, along: float = 0.0) -> None:
    """A chair before the long side of a table, facing it."""
    seat = furniture.chair(rng)
    for distance in (0.06, 0.12, 0.2, 0.3):
        reach = side * (model.size[1] / 2 + seat.size[1] / 2 + distance)
        local = pose(along, reach, seat.size[2] / 2, (0 if side < 0 else np.pi) + rng.uniform(-0.2, 0.2))
        at = table @ local
        at[2, 3] = FLOOR + seat.size[2] / 2
        if room.try_add(seat, at):
            return


def _middle(rng: Rng, room: Layout, kind: str) -> None:
    """A rug and a table in the middle; chairs around a dining table."""
    x, y = rng.uniform(-0.3, 0.3, 2)
    yaw = float(rng.choice([0, np.pi / 2]))
    if rng.random() < 0.75:
        wide, long = rng.uniform(1.6, 2.2), rng.uniform(1.1, 1.5)
        look = patterned(rng, Texture.RUG, *RUGS[int(rng.integers(len(RUGS)))])
        cloth = panel((-wide / 2, -long / 2, 0.001), (wide, 0, 0), (0, long, 0), look, cell=0.06)
        room.add(Parts([cloth]).model("rug"), pose(x, y, 0.001, yaw))
    if kind == "dining" or (kind == "study" and rng.random() < 0.4):
        board = furniture.table(rng)
        at = pose(x, y, FLOOR + board.size[2] / 2, yaw)
        if room.try_add(board, at):
            for side in (-1, 1):
                for along in (-0.3, 0.3):
                    if rng.random() < 0.85:
                        _chair_at(rng, room, at, board, side, along)
    elif kind == "living":
        board = furniture.coffee_table(rng)
        room.try_add(board, pose(x, y, FLOOR + board.size[2] / 2, yaw))


def _small_things(rng: Rng, room: Layout) -> None:
    """Two to four things on every top, some on the floor."""
    for index, support in enumerate(list(room.placed)):
        if support.model.top is None:
            continue
        if support.model.label == "cupboard" and rng.random() < 0.35:
            _stand_on(rng, room, index, furniture.television(rng), centred=True)
        if support.model.label in ("desk", "coffee table") and rng.random() < 0.8:
            _stand_on(rng, room, index, things.laptop(rng), centred=True)
        for _ in range(int(rng.integers(2, 5))):
            _stand_on(rng, room, index, rng.choice(np.array(things.SMALL, object))(rng))
    for _ in range(int(rng.integers(3, 6))):
        model = rng.choice(np.array(things.ON_FLOOR, object))(rng)
        for _ in range(20):
            x, y = rng.uniform(-0.5, 0.5, 2) * (room.size[:2] - 0.8)
            if room.try_add(model, pose(x, y, FLOOR + model.size[2] / 2, rng.uniform(0, 2 * np.pi)), gap=0.06):
                break


def _stand_on(rng: Rng, room: Layout, support: int, model: Model, centred: bool = False) -> None:
    """Somewhere on a top, wholly inside its border."""
    below = room.placed[support]
    assert below.model.top is not None
    for _ in range(15):
        yaw = rng.uniform(-0.15, 0.15) if centred else rng.uniform(0, 2 * np.pi)
        half = np.abs(pose(0, 0, 0, yaw)[:2, :2]) @ (model.size[:2] / 2)
        spare = np.array(below.model.top) / 2 - half - 0.02
        if (spare < 0).any():
            return
        x, y = rng.uniform(-spare, spare) * (0.3 if centred else 1.0)
        at = below.world_from_object @ pose(x, y, (below.model.size[2] + model.size[2]) / 2 + LIFT, yaw)
        if room.try_add(model, at, support=support):
            return


def _keep_free_before(room: Layout, thing: Placed, distance: float) -> None:
    """Nothing may stand in front of it, up to a distance in metres."""
    step = thing.world_from_object[:3, 1] * distance
    room.kept_free.append((np.minimum(thing.low, thing.low + step), np.maximum(thing.high, thing.high + step)))
