"""Small things that stand on tables and floors and can be pushed, and things on walls. Built like furniture."""

import numpy as np

from .furniture import books
from .materials import NAMED_COLORS, Material, Texture, ceramic, dimmed, paint, patterned, vary, wood
from .meshes import ball as sphere
from .meshes import box, lathe, panel, rounded_box, sheet, tube
from .models import Model, Parts, Rng


def _color(rng: Rng) -> str:
    return str(rng.choice(list(NAMED_COLORS)))


def _cup(radius: float, height: float, wall: float, floor: float) -> list[tuple[float, float]]:
    """Profile of a round thing that is open, or sunk, at its top."""
    inside = radius - wall
    return [(0, 0), (radius, 0), (radius, height), (inside, height), (inside, floor), (0, floor)]


def mug(rng: Rng) -> Model:
    """A cup with a handle."""
    name, radius, height = _color(rng), rng.uniform(0.036, 0.044), rng.uniform(0.085, 0.11)
    glaze = ceramic(rng, NAMED_COLORS[name], scale=0.025)
    parts = Parts(lathe(_cup(radius, height, 0.004, 0.01), glaze))
    angle = np.linspace(-1.5, 1.5, 9)
    loop = np.stack(
        [radius - 0.004 + 0.028 * np.cos(angle), 0 * angle, height / 2 + 0.3 * height * np.sin(angle)], axis=1
    )
    parts += tube(loop, 0.005, glaze)
    return parts.model("mug", color=name)


def bowl(rng: Rng) -> Model:
    """An open bowl."""
    name, radius = _color(rng), rng.uniform(0.08, 0.13)
    s = np.linspace(0, 1, 9)
    outside = [
        (float(radius * (0.35 + 0.65 * np.sin(np.pi / 2 * x))), float(0.55 * radius * (1 - np.cos(np.pi / 2 * x))))
        for x in s
    ]
    inside = [(r - 0.005, z + 0.004) for r, z in outside[::-1]] + [(0.0, 0.004)]
    glaze = ceramic(rng, NAMED_COLORS[name], scale=0.05)
    parts = Parts(lathe([(0, 0), outside[0]], glaze))
    parts += lathe(outside, glaze, smooth=True)
    parts += lathe(inside, glaze, smooth=True)
    return parts.model("bowl", color=name)


def bottle(rng: Rng) -> Model:
    """A bottle with a label."""
    name, radius, height = _color(rng), rng.uniform(0.032, 0.042), rng.uniform(0.22, 0.3)
    glass = paint(rng, dimmed(NAMED_COLORS[name], 0.7), gloss=0.12)
    label = patterned(rng, Texture.CARTON, (0.85, 0.82, 0.7), NAMED_COLORS[_color(rng)], (0.95, 0.95, 0.92))
    shoulder = [(1, 0.6), (0.9, 0.66), (0.5, 0.75), (0.36, 0.82), (0.36, 0.93)]
    parts = Parts(lathe([(0, 0), (radius, 0), (radius, 0.6 * height)], glass))
    parts += lathe([(r * radius, z * height) for r, z in shoulder], glass, smooth=True)
    parts += lathe(
        [(0.42 * radius, 0.93 * height), (0.42 * radius, height), (0, height)], paint(rng, NAMED_COLORS[_color(rng)])
    )
    parts += lathe([(radius + 0.0006, 0.14 * height), (radius + 0.0006, 0.5 * height)], label)
    return parts.model("bottle", color=name)


def can(rng: Rng) -> Model:
    """A printed tin."""
    name, radius, height = _color(rng), rng.uniform(0.033, 0.05), rng.uniform(0.1, 0.14)
    metal = paint(rng, (0.62, 0.62, 0.62), gloss=0.12)
    parts = Parts(lathe(_cup(radius, height, 0.003, height - 0.004), metal))
    look = ceramic(rng, NAMED_COLORS[name], scale=0.04)
    parts += lathe([(radius + 0.0006, 0.006), (radius + 0.0006, height - 0.006)], look)
    return parts.model("can", color=name)


def carton(rng: Rng) -> Model:
    """A cardboard parcel with label and tape."""
    size = rng.uniform((0.18, 0.14, 0.1), (0.34, 0.28, 0.26))
    look = patterned(rng, Texture.CARTON, (0.66, 0.49, 0.32), (0.78, 0.68, 0.48), (0.92, 0.92, 0.9))
    return _boxed(size, look, "brown")


def gift(rng: Rng) -> Model:
    """A printed box in one colour."""
    name = _color(rng)
    size = rng.uniform((0.1, 0.08, 0.07), (0.2, 0.16, 0.16))
    other = (0.93, 0.9, 0.82) if name != "white" else (0.3, 0.4, 0.6)
    look = patterned(
        rng, Texture.WALLPAPER, NAMED_COLORS[name], other, other, scale=rng.uniform(0.03, 0.05), amount=0.06
    )
    return _boxed(size, look, name)


def _boxed(size: np.ndarray, look: Material, color: str) -> Model:
    return Parts(box(size, (0, 0, size[2] / 2), look)).model("box", color=color)


def book(rng: Rng) -> Model:
    """A book lying on its back, cover up."""
    name = _color(rng)
    width, length, thick = rng.uniform(0.13, 0.2), rng.uniform(0.2, 0.27), rng.uniform(0.02, 0.045)
    title = (0.9, 0.85, 0.6) if sum(NAMED_COLORS[name]) < 1.7 else (0.15, 0.13, 0.12)
    cover = Material(Texture.BOOK, (vary(rng, NAMED_COLORS[name]), title), seed=int(rng.integers(1, 9999)))
    art = patterned(
        rng, Texture.PICTURE, NAMED_COLORS[_color(rng)], NAMED_COLORS[_color(rng)], NAMED_COLORS[_color(rng)]
    )
    parts = Parts(box((width, length, 0.003), (0, 0, 0.0015), cover))
    parts += box((width, length, 0.003), (0, 0, thick - 0.0015), cover)
    parts += box((0.003, length, thick), (-width / 2 + 0.0015, 0, thick / 2), cover, grain=1)
    parts += box(
        (width - 0.012, length - 0.012, thick - 0.006), (0, 0, thick / 2), paint(rng, (0.85, 0.82, 0.74), 0.15)
    )
    parts += panel((-0.38 * width, -0.36 * length, thick + 0.0004), (0.76 * width, 0, 0), (0, 0.46 * length, 0), art)
    return parts.model("book", color=name)


def ball(rng: Rng) -> Model:
    """A ball in three colours."""
    radius = rng.uniform(0.06, 0.12)
    first, second, third = rng.choice(list(NAMED_COLORS), 3, replace=False)
    look = patterned(rng, Texture.BALL, NAMED_COLORS[first], NAMED_COLORS[second], NAMED_COLORS[third], gloss=0.06)
    return Parts(sphere(radius, (0, 0, radius), look)).model("ball", color=str(first))


def toy_car(rng: Rng) -> Model:
    """A car with four wheels, its nose towards +x, with stripes and a number."""
    name = str(rng.choice(["red", "orange", "yellow", "green", "teal", "blue", "purple"]))
    length = rng.uniform(0.2, 0.3)
    width, wheel = 0.45 * length, 0.11 * length
    body, stripe = paint(rng, NAMED_COLORS[name], 0.1, gloss=0.1), paint(rng, (0.9, 0.88, 0.84), 0.1, gloss=0.1)
    glass, rubber = paint(rng, (0.12, 0.16, 0.2), gloss=0.12), paint(rng, (0.07, 0.07, 0.07), 0.2)
    rim = paint(rng, (0.7, 0.7, 0.7), gloss=0.1)
    decal = patterned(rng, Texture.BALL, (0.9, 0.9, 0.88), (0.12, 0.12, 0.14), NAMED_COLORS[_color(rng)])
    parts = Parts(rounded_box((length, width, 0.2 * length), (0, 0, wheel + 0.09 * length), 0.03 * length, body))
    parts += rounded_box(
        (0.5 * length, 0.86 * width, 0.16 * length), (-0.06 * length, 0, wheel + 0.26 * length), 0.045 * length, glass
    )
    parts += rounded_box(
        (0.4 * length, 0.8 * width, 0.03 * length), (-0.06 * length, 0, wheel + 0.345 * length), 0.012 * length, body
    )
    for y in (-0.13, 0.13):
        parts += box((0.99 * length, 0.1 * width, 0.001), (0, y * width, wheel + 0.19 * length), stripe)
        parts += box((0.37 * length, 0.1 * width, 0.001), (-0.06 * length, y * width, wheel + 0.3605 * length), stripe)
    for y in (-1, 1):
        parts += panel(
            (-y * -0.12 * length, y * (width / 2 + 4e-4), wheel + 0.04 * length),
            (-y * 0.24 * length, 0, 0),
            (0, 0, 0.12 * length),
            decal,
        )
        parts += box(
            (0.04 * length, 0.16 * width, 0.05 * length), (length / 2, y * 0.33 * width, wheel + 0.1 * length), stripe
        )
        for x in (-0.3, 0.3):
            tyre = lathe([(0, -0.012), (wheel, -0.012), (wheel, 0.012), (0.55 * wheel, 0.0125)], rubber, segments=18)
            tyre += lathe([(0.55 * wheel, 0.0125), (0, 0.0125)], rim, segments=18)
            parts += [m.moved((x * length, y * width / 2, wheel), roll=-y * np.pi / 2) for m in tyre]
    return parts.model("toy car", color=name)


def laptop(rng: Rng) -> Model:
    """An open laptop; the screen faces +y."""
    width, depth, tilt = rng.uniform(0.31, 0.36), 0.23, rng.uniform(0.2, 0.4)
    shell = paint(rng, (0.55, 0.56, 0.58), gloss=0.08)
    keys = patterned(rng, Texture.TILES, (0.1, 0.1, 0.11), (0.14, 0.14, 0.15), (0.5, 0.5, 0.52), scale=0.02)
    show = patterned(rng, Texture.SCREEN, (0.1, 0.25, 0.5), (0.5, 0.3, 0.6), (0.92, 0.92, 0.94), glow=0.55)
    parts = Parts(box((width, depth, 0.016), (0, 0, 0.008), shell))
    parts += panel((-width * 0.44, -0.09, 0.0164), (width * 0.88, 0, 0), (0, 0.1, 0), keys)
    lid = box((width, 0.008, 0.22), (0, 0, 0.11), shell)
    lid.append(panel((width / 2 - 0.01, 0.0044, 0.01), (0.02 - width, 0, 0), (0, 0, 0.2), show))
    parts += [m.moved((0, -depth / 2 + 0.006, 0.012), roll=tilt) for m in lid]
    return parts.model("laptop")


def vase(rng: Rng) -> Model:
    """A turned vase."""
    name, height = _color(rng), rng.uniform(0.18, 0.3)
    s = np.linspace(0, 1, 13)
    radius = height * (0.2 + 0.12 * np.sin(2 * np.pi * (s - 0.05)) * (1 - 0.3 * s))
    glaze = ceramic(rng, NAMED_COLORS[name], scale=0.05)
    parts = Parts(lathe([(0, 0), (float(radius[0]), 0)], glaze))
    parts += lathe([(float(r), float(height * x)) for r, x in zip(radius, s, strict=True)], glaze, smooth=True)
    return parts.model("vase", color=name)


SMALL = (mug, mug, bowl, bottle, bottle, can, can, gift, gift, book, book, toy_car, vase, vase, ball, carton)
ON_FLOOR = (ball, carton, toy_car, gift, carton)


def picture(rng: Rng) -> Model:
    """A framed painting; its back is at -y."""
    height = rng.uniform(0.35, 0.7)
    width = height * rng.uniform(0.75, 1.5)
    first, second, third = (NAMED_COLORS[str(n)] for n in rng.choice(list(NAMED_COLORS), 3, replace=False))
    art = patterned(rng, Texture.PICTURE, first, second, third)
    frame = wood(rng) if rng.random() < 0.6 else paint(rng, (0.1, 0.1, 0.1))
    border = rng.uniform(0.02, 0.045)
    parts = Parts(_frame(width, height, border, 0.03, frame))
    parts += panel((width / 2 - border, 0, border), (-(width - 2 * border), 0, 0), (0, 0, height - 2 * border), art)
    return parts.model("picture")


def wall_shelf(rng: Rng) -> Model:
    """A board with books; its back is at -y."""
    width = rng.uniform(0.6, 1.0)
    parts = Parts(box((width, 0.2, 0.025), (0, 0, 0.0125), wood(rng)))
    parts += books(rng, 0.8 * width, 0.025, 0.3, 0.2)
    return parts.model("shelf")


def door(rng: Rng) -> Model:
    """A closed door with panels and a handle in its frame."""
    width, height = 0.94, 2.04
    look = paint(rng, (0.84, 0.82, 0.78)) if rng.random() < 0.5 else wood(rng)
    trim = paint(rng, (0.86, 0.85, 0.82))
    metal = paint(rng, (0.6, 0.58, 0.5), gloss=0.2)
    parts = Parts(_frame(width, height, 0.07, 0.05, trim)[:-6])
    parts += box((width - 0.14, 0.02, height - 0.07), (0, 0, (height - 0.07) / 2), look, grain=2)
    for low, high in ((0.15, 0.85), (1.0, height - 0.2)):
        for x in (-1, 1):
            parts += rounded_box((0.28, 0.03, high - low), (x * 0.19, 0.006, (low + high) / 2), 0.012, look)
    handle = np.array([(-0.34, 0.01, 1.0), (-0.34, 0.06, 1.0), (-0.33, 0.065, 1.0), (-0.22, 0.065, 1.0)])
    parts += tube(handle, 0.009, metal)
    return parts.model("door")


def window(rng: Rng) -> Model:
    """Two panes with a view, a sill and curtains at the sides."""
    width, height = rng.uniform(1.2, 1.7), rng.uniform(1.1, 1.3)
    trim = paint(rng, (0.88, 0.88, 0.86))
    view = patterned(rng, Texture.VIEW, (0.62, 0.78, 0.95), (0.45, 0.55, 0.58), (0.2, 0.32, 0.14), glow=1.0)
    parts = Parts(_frame(width, height, 0.055, 0.05, trim))
    parts += box((0.05, 0.045, height - 0.1), (0, 0, height / 2), trim, grain=2)
    parts += panel((width / 2 - 0.05, -0.01, 0.05), (0.1 - width, 0, 0), (0, 0, height - 0.1), view)
    parts += box((width + 0.1, 0.14, 0.03), (0, 0.045, -0.015), trim)
    cloth = patterned(
        rng, Texture.FABRIC, NAMED_COLORS[_color(rng)], (0.85, 0.82, 0.75), (0.5, 0.5, 0.5), scale=0.12, amount=0.15
    )
    rod = np.array([(x, 0.07, height + 0.14) for x in (-width / 2 - 0.35, 0, width / 2 + 0.35)])
    parts += tube(rod, 0.012, paint(rng, (0.2, 0.17, 0.15)))
    for side in (-1, 1):
        s = np.linspace(0, 1, 33)
        x = side * (width / 2 - 0.02 + 0.32 * s)
        fold = 0.07 + 0.03 * np.sin(2 * np.pi * 4 * s)
        z = np.linspace(-0.35, height + 0.12, 14)
        grid = np.stack(np.broadcast_arrays(x[None], fold[None] * (1 - 0.15 * z[:, None] / height), z[:, None]), axis=2)
        parts += sheet(grid[:, ::-side], cloth)
    return parts.model("window")


def _frame(width: float, height: float, border: float, depth: float, look: Material) -> list:
    """Four boards around an opening that stands on z = 0; the lower board comes last."""
    out = []
    for x in (-1, 1):
        out += box((border, depth, height), (x * (width - border) / 2, 0, height / 2), look, grain=2)
    out += box((width - 2 * border, depth, border), (0, 0, height - border / 2), look)
    return out + box((width - 2 * border, depth, border), (0, 0, border / 2), look)
