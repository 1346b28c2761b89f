"""Floor, ceiling and walls of a room, what covers them, and the ceiling lamp."""

from typing import TYPE_CHECKING

import numpy as np

from .materials import WALL_COLORS, WOODS, Color, Material, Texture, dimmed, paint, patterned, wood
from .meshes import Mesh, box, lathe, panel
from .models import Rng

if TYPE_CHECKING:
    from .layout import Layout

CELL = 0.06  # m between vertices that store light
RUGS: list[tuple[Color, Color, Color]] = [
    ((0.50, 0.12, 0.10), (0.85, 0.76, 0.58), (0.20, 0.32, 0.42)),
    ((0.12, 0.20, 0.36), (0.80, 0.80, 0.78), (0.25, 0.45, 0.52)),
    ((0.20, 0.30, 0.26), (0.85, 0.76, 0.58), (0.75, 0.45, 0.20)),
    ((0.62, 0.56, 0.48), (0.85, 0.82, 0.76), (0.36, 0.30, 0.27)),
    ((0.55, 0.36, 0.14), (0.84, 0.78, 0.66), (0.45, 0.12, 0.12)),
]
TILES: list[tuple[Color, Color, Color]] = [
    ((0.78, 0.74, 0.68), (0.50, 0.42, 0.36), (0.45, 0.43, 0.40)),
    ((0.72, 0.73, 0.73), (0.30, 0.33, 0.36), (0.55, 0.55, 0.54)),
    ((0.68, 0.52, 0.40), (0.58, 0.42, 0.31), (0.62, 0.58, 0.52)),
]
CARPETS: list[Color] = [(0.55, 0.50, 0.43), (0.36, 0.40, 0.46), (0.48, 0.38, 0.34), (0.42, 0.45, 0.40)]
BOLD: list[Color] = [(0.20, 0.34, 0.40), (0.32, 0.42, 0.32), (0.55, 0.28, 0.20), (0.30, 0.30, 0.42)]


def shell(rng: Rng, room: "Layout") -> list[Mesh]:
    """The surfaces of a room in its world frame; its door interrupts the baseboard."""
    width, depth, height = room.size
    floor, ceiling = _floor(rng), paint(rng, (0.88, 0.87, 0.85), 0.035, 0.0)
    meshes = [
        panel((-width / 2, -depth / 2, 0), (width, 0, 0), (0, depth, 0), floor, CELL),
        panel((-width / 2, depth / 2, height), (width, 0, 0), (0, -depth, 0), ceiling, 2 * CELL),
    ]
    tone = WALL_COLORS[int(rng.integers(len(WALL_COLORS)))]
    plain, accent = paint(rng, tone, 0.045, 0.0), _accent(rng, tone)
    accented = range(4) if rng.random() < 0.3 else [int(rng.integers(4))]
    trim = paint(rng, (0.86, 0.85, 0.82)) if rng.random() < 0.6 else wood(rng)
    wainscot = rng.random() < 0.35
    for wall in range(4):
        long, reach = room.size[wall % 2], room.size[1 - wall % 2] / 2
        # In the frame of wall 0, which faces +y; seen from inside, u runs to the left.
        surfaces = [
            panel((long / 2, -reach, 0), (-long, 0, 0), (0, 0, height), accent if wall in accented else plain, CELL)
        ]
        for start, end in _beside_door(room, wall, long):
            middle, wide = (start + end) / 2, end - start
            surfaces += box((wide, 0.014, 0.09), (middle, -reach + 0.007, 0.045), trim)
            if wainscot and wall not in accented:
                surfaces += box((wide, 0.01, 0.62), (middle, -reach + 0.005, 0.4), trim, grain=2)
                surfaces += box((wide, 0.018, 0.03), (middle, -reach + 0.009, 0.72), trim)
        meshes += [m.moved(yaw=wall * np.pi / 2) for m in surfaces]
    shade = patterned(rng, Texture.PAINT, (0.95, 0.88, 0.75), amount=0.03, glow=1.2)
    lamp = lathe([(0, -0.13), (0.16, -0.11), (0.2, -0.02), (0.2, 0.0)], shade)
    return meshes + [m.moved((0, 0, height)) for m in lamp]


def _beside_door(room: "Layout", wall: int, long: float) -> list[tuple[float, float]]:
    """Stretches (start, end) of a wall in its own x that the door leaves."""
    sideways = np.array([np.cos(wall * np.pi / 2), np.sin(wall * np.pi / 2)])
    for thing in room.placed:
        if thing.model.label == "door" and thing.world_from_object[:2, 0] @ sideways > 0.9:
            middle, half = float(thing.world_from_object[:2, 3] @ sideways), thing.model.size[0] / 2
            return [(-long / 2, middle - half), (middle + half, long / 2)]
    return [(-long / 2, long / 2)]


def _floor(rng: Rng) -> Material:
    pick = rng.random()
    if pick < 0.5:
        light, dark = WOODS[int(rng.integers(len(WOODS)))]
        return patterned(rng, Texture.PLANKS, light, dark, scale=0.05, amount=0.16, gloss=0.06)
    if pick < 0.75:
        tones = TILES[int(rng.integers(len(TILES)))]
        return patterned(rng, Texture.TILES, *tones, scale=rng.uniform(0.3, 0.45), amount=0.07, gloss=0.09)
    base = CARPETS[int(rng.integers(len(CARPETS)))]
    return patterned(rng, Texture.CARPET, base, dimmed(base, 0.75))


def _accent(rng: Rng, base: Color) -> Material:
    """Brick, wallpaper or a bold colour."""
    pick = rng.random()
    if pick < 0.3:
        return patterned(rng, Texture.BRICK, (0.58, 0.28, 0.20), (0.44, 0.20, 0.15), (0.70, 0.66, 0.60), scale=0.072)
    if pick < 0.8:
        tone = WALL_COLORS[int(rng.integers(len(WALL_COLORS)))]
        pale = (0.4 + 0.55 * base[0], 0.4 + 0.55 * base[1], 0.4 + 0.55 * base[2])
        return patterned(
            rng, Texture.WALLPAPER, tone, dimmed(tone, 0.66), pale, scale=rng.uniform(0.14, 0.26), amount=0.05
        )
    return paint(rng, BOLD[int(rng.integers(len(BOLD)))], 0.06, 0.0)
