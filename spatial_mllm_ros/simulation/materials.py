"""Looks of surfaces: which texture, in which colours."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]

# Names people use for the colour of a thing, sRGB 0..1.
NAMED_COLORS: dict[str, Color] = {
    "red": (0.75, 0.13, 0.11),
    "orange": (0.87, 0.42, 0.10),
    "yellow": (0.88, 0.72, 0.16),
    "green": (0.20, 0.50, 0.22),
    "teal": (0.12, 0.50, 0.50),
    "blue": (0.14, 0.30, 0.66),
    "purple": (0.42, 0.22, 0.55),
    "pink": (0.86, 0.48, 0.58),
    "white": (0.86, 0.86, 0.84),
    "black": (0.10, 0.10, 0.11),
}
WALL_COLORS: list[Color] = [
    (0.85, 0.83, 0.78),
    (0.80, 0.82, 0.80),
    (0.70, 0.77, 0.79),
    (0.82, 0.76, 0.66),
    (0.66, 0.73, 0.66),
    (0.80, 0.70, 0.64),
    (0.60, 0.67, 0.74),
    (0.84, 0.80, 0.70),
]
WOODS: list[tuple[Color, Color]] = [
    ((0.70, 0.50, 0.31), (0.53, 0.34, 0.19)),
    ((0.47, 0.29, 0.17), (0.31, 0.18, 0.10)),
    ((0.80, 0.66, 0.46), (0.68, 0.51, 0.33)),
    ((0.58, 0.38, 0.24), (0.42, 0.25, 0.15)),
    ((0.62, 0.56, 0.48), (0.47, 0.41, 0.35)),
]
FABRICS: list[Color] = [
    (0.42, 0.46, 0.52),
    (0.55, 0.47, 0.38),
    (0.25, 0.34, 0.42),
    (0.48, 0.24, 0.20),
    (0.34, 0.42, 0.33),
    (0.66, 0.61, 0.54),
    (0.60, 0.45, 0.20),
]


class Texture(IntEnum):
    """The textures of textures.py and prints.py."""

    PAINT = 0
    WALLPAPER = 1
    BRICK = 2
    PLANKS = 3
    WOOD = 4
    TILES = 5
    CARPET = 6
    FABRIC = 7
    RUG = 8
    PICTURE = 9
    BOOK = 10
    CERAMIC = 11
    CARTON = 12
    VIEW = 13
    LEAF = 14
    SCREEN = 15
    BALL = 16


@dataclass(frozen=True)
class Material:
    """One look.

    Attributes:
        texture: the pattern.
        colors: up to three sRGB colours 0..1; what each does is told by the texture.
        scale: period of the pattern in metres, where it has one.
        amount: contrast of its fine structure.
        seed: makes two materials of one kind differ.
        glow: light it gives off by itself (window panes, lamp shades, screens).
        gloss: how strongly it mirrors the window and the lamp.
    """

    texture: Texture
    colors: tuple[Color, ...]
    scale: float = 0.1
    amount: float = 0.06
    seed: int = 0
    glow: float = 0.0
    gloss: float = 0.0

    @property
    def row(self) -> NDArray[np.float64]:
        """float64 [14], as patterns.py has it."""
        colors = [self.colors[min(i, len(self.colors) - 1)] for i in range(3)]
        numbers = [self.scale, self.amount, float(self.seed), self.glow, self.gloss]
        return np.concatenate([linear(np.array(colors)).ravel(), numbers])


def linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light of display values 0..1, by gamma 2."""
    return np.clip(srgb, 0, 1) ** 2


def wood(rng: np.random.Generator, gloss: float = 0.03) -> Material:
    """Wooden furniture."""
    light, dark = WOODS[int(rng.integers(len(WOODS)))]
    return Material(
        Texture.WOOD, (light, dark), scale=rng.uniform(0.03, 0.06), amount=0.16, seed=_seed(rng), gloss=gloss
    )


def paint(rng: np.random.Generator, color: Color, amount: float = 0.05, gloss: float = 0.02) -> Material:
    """A painted, plastic or metal surface with fine wear."""
    return Material(Texture.PAINT, (vary(rng, color),), amount=amount, seed=_seed(rng), gloss=gloss)


def fabric(rng: np.random.Generator, color: Color | None = None) -> Material:
    """Upholstery: plain weave, stripes or plaid."""
    base = vary(rng, FABRICS[int(rng.integers(len(FABRICS)))] if color is None else color)
    pale = (0.5 + 0.5 * base[0], 0.5 + 0.5 * base[1], 0.5 + 0.5 * base[2])
    shades = (base, vary(rng, dimmed(base, 0.72), 0.04), vary(rng, pale, 0.04))
    return Material(Texture.FABRIC, shades, scale=rng.uniform(0.05, 0.12), amount=0.22, seed=_seed(rng))


def ceramic(rng: np.random.Generator, color: Color, scale: float = 0.03) -> Material:
    """Glazed and banded: mugs, vases, pots."""
    band = (0.92, 0.9, 0.85) if sum(color) < 1.8 else vary(rng, (0.35, 0.3, 0.45), 0.25)
    return Material(Texture.CERAMIC, (vary(rng, color), band), scale=scale, amount=0.08, seed=_seed(rng), gloss=0.08)


def patterned(
    rng: np.random.Generator, texture: Texture, *colors: Color, scale: float = 0.1, **more: float
) -> Material:
    """Any texture in slightly varied colours."""
    return Material(texture, tuple(vary(rng, c) for c in colors), scale=scale, seed=_seed(rng), **more)


def dimmed(color: Color, factor: float) -> Color:
    """The colour, darker by a factor."""
    return color[0] * factor, color[1] * factor, color[2] * factor


def vary(rng: np.random.Generator, color: Color, spread: float = 0.03) -> Color:
    """The colour, a little off."""
    r, g, b = np.clip(
        np.array(color) + rng.uniform(-spread, spread, 3) * 0.5 + rng.uniform(-spread, spread), 0.02, 0.97
    )
    return float(r), float(g), float(b)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 100_000))
