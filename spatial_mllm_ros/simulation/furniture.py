"""Furniture, each piece of seeded size and look. Built standing on z = 0 with its front towards +y, metres."""

from itertools import pairwise, product

import numpy as np

from .materials import NAMED_COLORS, Material, Texture, ceramic, dimmed, fabric, paint, patterned, vary, wood
from .meshes import Mesh, box, lathe, panel, rounded_box, sheet, tube
from .models import Builder, Model, Parts, Rng

FINE = 0.04  # m between vertices of tops, which show the shadows of what stands on them
CORNERS = tuple(product((-1, 1), repeat=2))


def table(rng: Rng, width: float = 1.4, depth: float = 0.85, height: float = 0.74, label: str = "table") -> Model:
    """A top on four legs, with an apron."""
    width, depth = width * rng.uniform(0.88, 1.12), depth * rng.uniform(0.92, 1.08)
    tone = wood(rng)
    legs = tone if rng.random() < 0.6 else paint(rng, (0.2, 0.2, 0.21))
    leg, inset = rng.uniform(0.045, 0.07), 0.04
    aside, ahead = width / 2 - inset - leg / 2, depth / 2 - inset - leg / 2
    parts = Parts(box((width, depth, 0.035), (0, 0, height - 0.0175), tone, cell=FINE))
    for x, y in CORNERS:
        parts += box((leg, leg, height - 0.035), (x * aside, y * ahead, (height - 0.035) / 2), legs, grain=2)
    for y in (-1, 1):
        parts += box((width - 2 * inset - 2 * leg, 0.02, 0.07), (0, y * ahead, height - 0.07), tone)
    for x in (-1, 1):
        parts += box((0.02, depth - 2 * inset - 2 * leg, 0.07), (x * aside, 0, height - 0.07), tone, grain=1)
    return parts.model(label, top=(width, depth))


def coffee_table(rng: Rng) -> Model:
    """A low table; sometimes round."""
    if rng.random() < 0.6:
        return table(rng, 1.0, 0.55, 0.42, "coffee table")
    radius, tone = rng.uniform(0.36, 0.45), wood(rng)
    parts = Parts(lathe([(0, 0.38), (radius, 0.38), (radius, 0.415), (0, 0.415)], tone))
    parts += lathe([(0.2, 0.0), (0.2, 0.02), (0.035, 0.04), (0.035, 0.38)], tone)
    return parts.model("coffee table", top=(1.3 * radius, 1.3 * radius))


def desk(rng: Rng) -> Model:
    """A desk with a drawer block and a back panel."""
    width, depth, height = rng.uniform(1.15, 1.5), rng.uniform(0.6, 0.7), 0.74
    tone, white = wood(rng), paint(rng, (0.8, 0.8, 0.78))
    body = tone if rng.random() < 0.5 else white
    side = rng.choice([-1, 1])
    parts = Parts(box((width, depth, 0.03), (0, 0, height - 0.015), tone, cell=FINE))
    leg = (0.03, depth - 0.06, height - 0.03)
    parts += box(leg, (-side * (width / 2 - 0.035), 0, (height - 0.03) / 2), body, grain=2)
    parts += box((width - 0.1, 0.02, 0.4), (0, -depth / 2 + 0.05, height - 0.24), body)
    foot = (side * (width / 2 - 0.4 / 2 - 0.02), 0, 0.06)
    parts += _drawers(rng, 0.4, depth - 0.06, height - 0.09, 3, body, foot)
    return parts.model("desk", top=(width, depth))


def chair(rng: Rng) -> Model:
    """Four legs, a seat and a back of slats; the back is at -y."""
    tone = wood(rng)
    seat = tone if rng.random() < 0.4 else fabric(rng)
    width, depth, height, top = 0.44, 0.44, 0.46, rng.uniform(0.82, 0.95)
    parts = Parts()
    for x in (0.02 - width / 2, width / 2 - 0.02):
        parts += box((0.04, 0.04, height - 0.04), (x, depth / 2 - 0.02, (height - 0.04) / 2), tone, grain=2)
        parts += box((0.04, 0.035, top), (x, -depth / 2 + 0.0175, top / 2), tone, grain=2)
        parts += box((0.025, depth - 0.08, 0.03), (x, 0, 0.2), tone, grain=1)
    parts += rounded_box((width, depth - 0.036, 0.05), (0, 0.018, height - 0.015), 0.018, seat)
    slats = int(rng.integers(2, 5))
    for z in np.linspace(height + 0.14, top - 0.05, slats):
        parts += box((width - 0.08, 0.018, 0.06), (0, -depth / 2 + 0.0175, z), tone)
    return parts.model("chair")


def sofa(rng: Rng, seats: int = 0) -> Model:
    """Seat and back cushions between arm rests, with throw pillows; one seat makes an armchair."""
    seats = seats or int(rng.integers(2, 4))
    cloth = fabric(rng)
    accent = fabric(rng, NAMED_COLORS[str(rng.choice(["orange", "teal", "yellow", "red", "white", "blue"]))])
    arm, seat, depth = rng.uniform(0.13, 0.2), rng.uniform(0.58, 0.68), rng.uniform(0.82, 0.92)
    inner = seats * seat
    width = inner + 2 * arm
    parts = Parts(rounded_box((width, depth, 0.24), (0, 0, 0.18), 0.03, cloth))
    for x in (-1, 1):
        parts += rounded_box((arm, depth, 0.52), (x * (inner + arm) / 2, 0, 0.34), 0.06, cloth)
        for y in (-1, 1):
            foot = lathe([(0.02, 0.0), (0.028, 0.062)], paint(rng, (0.12, 0.09, 0.07)), segments=12)
            parts += [m.moved((x * (width / 2 - 0.1), y * (depth / 2 - 0.1), 0)) for m in foot]
    parts += rounded_box((inner, 0.2, 0.56), (0, -depth / 2 + 0.1, 0.52), 0.06, cloth)
    for i in range(seats):
        x = (i - (seats - 1) / 2) * seat
        parts += rounded_box((seat - 0.012, depth - 0.22, 0.16), (x, 0.1, 0.37), 0.06, cloth)
        cushion = rounded_box((seat - 0.03, 0.16, 0.40), (0, 0, 0), 0.07, cloth)
        parts += [m.moved((x, -depth / 2 + 0.27, 0.62), roll=0.16) for m in cushion]
        if rng.random() < 0.55:
            pillow = rounded_box((0.4, 0.13, 0.4), (0, 0, 0), 0.062, accent)
            place, turn = (x + rng.uniform(-0.08, 0.08), -depth / 2 + 0.42, 0.645), rng.uniform(-0.2, 0.2)
            parts += [m.moved(place, roll=0.35, yaw=turn) for m in pillow]
    return parts.model("sofa" if seats > 1 else "armchair")


def armchair(rng: Rng) -> Model:
    """A sofa for one."""
    return sofa(rng, seats=1)


def bookshelf(rng: Rng) -> Model:
    """Boards in a carcass, filled with rows of books and a few gaps."""
    width, depth, height = rng.uniform(0.75, 1.2), 0.3, rng.uniform(1.5, 2.05)
    tone, board = wood(rng, gloss=0.02), 0.022
    shelves = round(height / 0.36)
    parts = Parts()
    for x in (-1, 1):
        parts += box((board, depth, height), (x * (width - board) / 2, 0, height / 2), tone, grain=2)
    parts += box((width - 2 * board, 0.008, height), (0, -depth / 2 + 0.004, height / 2), tone, grain=2)
    levels = np.linspace(0.06, height - board / 2, shelves + 1)
    for z in levels:
        parts += box((width - 2 * board, depth - 0.01, board), (0, 0.004, z), tone)
    for low, high in pairwise(levels):
        parts += books(rng, width - 2 * board, low + board / 2, high - board / 2 - low - board / 2, depth)
    return parts.model("bookshelf")


def books(rng: Rng, width: float, floor: float, room: float, depth: float) -> list[Mesh]:
    """A row of upright books with a gap, spines towards +y, on a shelf at height floor with so much room above."""
    parts = Parts()
    x, end = -width / 2 + 0.01, width / 2 - 0.01
    gap = rng.uniform(-width / 2, width / 2) if rng.random() < 0.6 else np.inf
    while True:
        thick, high, deep = rng.uniform(0.016, 0.05), room * rng.uniform(0.62, 0.93), rng.uniform(0.15, 0.22)
        if abs(x - gap) < 0.03:
            x += rng.uniform(0.06, 0.2)
        if x + thick > end:
            return parts.meshes
        name = str(rng.choice(list(NAMED_COLORS)))
        color = vary(rng, dimmed(NAMED_COLORS[name], 0.8), 0.12)
        title = (0.85, 0.78, 0.5) if sum(color) < 1.7 else (0.15, 0.13, 0.12)
        cover = Material(Texture.BOOK, (color, title), seed=int(rng.integers(1, 9999)))
        y = depth / 2 - 0.02 - deep / 2 - rng.uniform(0, 0.03)
        parts += box((thick - 0.0015, deep, high), (x + thick / 2, y, floor + high / 2 + 0.0005), cover, cell=0.2)
        x += thick


def cupboard(rng: Rng) -> Model:
    """A sideboard with drawers beside doors."""
    width, depth, height = rng.uniform(1.0, 1.6), rng.uniform(0.4, 0.48), rng.uniform(0.72, 0.9)
    tone = wood(rng) if rng.random() < 0.65 else paint(rng, (0.75, 0.76, 0.72))
    columns = int(rng.integers(2, 4))
    parts = Parts(box((width, depth, 0.03), (0, 0, height - 0.015), tone, cell=FINE))
    for i in range(columns):
        x = (i + 0.5) * width / columns - width / 2
        rows = int(rng.integers(1, 5)) if i else 3
        parts += _drawers(
            rng, width / columns - 0.01, depth - 0.02, height - 0.03 - 0.08, rows, tone, (x, -0.005, 0.08)
        )
    dark = paint(rng, (0.12, 0.1, 0.09))
    parts += box((width - 0.06, depth - 0.08, 0.08), (0, -0.01, 0.04), dark)
    return parts.model("cupboard", top=(width, depth))


def nightstand(rng: Rng) -> Model:
    """A small chest with two drawers."""
    width, depth, height = rng.uniform(0.42, 0.5), 0.4, rng.uniform(0.5, 0.58)
    tone = wood(rng)
    parts = Parts(box((width, depth, 0.025), (0, 0, height - 0.0125), tone, cell=FINE))
    parts += _drawers(rng, width - 0.01, depth - 0.02, height - 0.025 - 0.05, 2, tone, (0, -0.005, 0.05))
    parts += box((width - 0.06, depth - 0.08, 0.05), (0, -0.01, 0.025), tone)
    return parts.model("nightstand", top=(width, depth))


def wardrobe(rng: Rng) -> Model:
    """Two or three tall doors."""
    doors = int(rng.integers(2, 4))
    width, depth, height = 0.5 * doors, 0.56, rng.uniform(1.9, 2.1)
    tone = wood(rng) if rng.random() < 0.6 else paint(rng, (0.82, 0.82, 0.79))
    parts = Parts(box((width, depth, 0.03), (0, 0, height - 0.015), tone, cell=FINE))
    parts += box((width, depth - 0.03, 0.08), (0, -0.015, 0.04), tone)
    for i in range(doors):
        x = (i + 0.5) * width / doors - width / 2
        parts += _drawers(rng, width / doors - 0.004, depth, height - 0.11, 1, tone, (x, 0, 0.08))
    return parts.model("wardrobe")


def bed(rng: Rng) -> Model:
    """Frame, mattress, duvet and pillows; the head is at -y."""
    width, length = float(rng.choice([1.0, 1.5, 1.7])), 2.02
    tone, duvet, linen = wood(rng), fabric(rng), fabric(rng, (0.85, 0.84, 0.8))
    parts = Parts(box((width, 0.05, rng.uniform(0.85, 1.05)), (0, -length / 2 + 0.025, 0.5), tone))
    parts += box((width, length - 0.05, 0.16), (0, 0.025, 0.26), tone)
    for x, y in CORNERS:
        parts += box((0.07, 0.07, 0.18), (x * (width / 2 - 0.05), y * (length / 2 - 0.06), 0.09), tone, grain=2)
    parts += rounded_box((width - 0.03, length - 0.09, 0.2), (0, 0.02, 0.42), 0.05, linen)
    parts += rounded_box((width - 0.005, length * 0.66, 0.18), (0, length * 0.155, 0.47), 0.08, duvet)
    count = 1 if width < 1.2 else 2
    for i in range(count):
        pillow = rounded_box((min(0.65, width / count - 0.08), 0.42, 0.15), (0, 0, 0), 0.07, linen)
        parts += [m.moved(((i - (count - 1) / 2) * width / count, -length / 2 + 0.33, 0.57), roll=0.25) for m in pillow]
    return parts.model("bed")


def floor_lamp(rng: Rng) -> Model:
    """A foot, a pole and a glowing shade."""
    height, metal = rng.uniform(1.45, 1.7), paint(rng, (0.16, 0.15, 0.14), gloss=0.1)
    shade = patterned(rng, Texture.PAINT, (0.85, 0.76, 0.58), amount=0.05, glow=0.55)
    radius, narrow = rng.uniform(0.17, 0.22), rng.uniform(0.6, 1.0)
    parts = Parts(lathe([(0.15, 0.0), (0.15, 0.02), (0.012, 0.035), (0.012, height - 0.05)], metal))
    parts += lathe([(radius, height - 0.28), (radius * narrow, height)], shade)
    return parts.model("lamp")


def plant(rng: Rng) -> Model:
    """A pot with arching leaves."""
    tall = rng.uniform(0.5, 0.95)
    pot_height, radius = rng.uniform(0.22, 0.32), rng.uniform(0.12, 0.17)
    parts = Parts()
    glaze = ceramic(rng, NAMED_COLORS[str(rng.choice(["white", "orange", "teal", "black", "blue"]))], scale=0.06)
    soil = pot_height - 0.03
    parts += lathe(
        [(0.72 * radius, 0.0), (radius, pot_height), (radius - 0.015, pot_height), (radius - 0.02, soil)], glaze
    )
    parts += lathe([(radius - 0.018, soil), (0, soil)], paint(rng, (0.2, 0.14, 0.09), 0.3))
    green = patterned(rng, Texture.LEAF, (0.17, 0.38, 0.14), (0.45, 0.58, 0.28), gloss=0.04)
    for i in range(int(rng.integers(14, 22))):
        turn, lean = 2.4 * i + rng.uniform(-0.3, 0.3), rng.uniform(0.25, 1.0)
        length, wide = tall * rng.uniform(0.6, 1.0), rng.uniform(0.05, 0.09)
        s = np.linspace(0, 1, 9)
        out, up = length * 0.55 * lean * s**1.3, length * (s - 0.45 * lean * s**2.5)
        half = wide * 0.5 * np.clip(np.sin(np.pi * np.clip(s, 0.02, 0.99) ** 0.8), 0.06, 1)
        across = np.array([-1.0, 0.0, 1.0])
        x = half[:, None] * across
        blade = np.stack([x, np.repeat(out[:, None], 3, 1), up[:, None] + 0.2 * np.abs(x)], axis=2)
        uv = np.stack([x + wide / 2, np.repeat((length * s)[:, None], 3, 1)], axis=2)
        parts += sheet(blade, green, uv=uv).moved((0, 0, soil), yaw=turn)
    return parts.model("plant")


def television(rng: Rng) -> Model:
    """A flat screen on a foot, showing something."""
    width = rng.uniform(0.8, 1.05)
    height = width * 0.58
    black = paint(rng, (0.06, 0.06, 0.065), gloss=0.06)
    show = patterned(rng, Texture.PICTURE, (0.2, 0.35, 0.25), (0.3, 0.45, 0.7), (0.9, 0.6, 0.25), glow=0.5)
    parts = Parts(box((0.34, 0.2, 0.02), (0, 0, 0.01), black))
    parts += box((0.06, 0.03, 0.1), (0, -0.02, 0.06), black)
    parts += box((width, 0.04, height), (0, 0, 0.08 + height / 2), black)
    parts += panel((width / 2 - 0.015, 0.0205, 0.095), (-(width - 0.03), 0, 0), (0, 0, height - 0.03), show)
    return parts.model("television")


ALONG_WALLS: dict[str, list[Builder]] = {
    "living": [sofa, bookshelf, cupboard, armchair, floor_lamp, plant],
    "bedroom": [bed, wardrobe, nightstand, desk, plant, floor_lamp],
    "study": [desk, bookshelf, bookshelf, cupboard, armchair, plant],
    "dining": [cupboard, bookshelf, plant, cupboard, floor_lamp, armchair],
}
EXTRAS: list[Builder] = [plant, floor_lamp, armchair, cupboard, bookshelf]


def _drawers(rng: Rng, width: float, depth: float, height: float, rows: int, tone: Material, foot: tuple) -> list[Mesh]:
    """A carcass with fronts and handles; the bottom centre of the block is at foot [3]."""
    x, y, z = foot
    metal, grain = paint(rng, (0.55, 0.53, 0.48), gloss=0.15), 2 if rows == 1 else 0
    parts = Parts(box((width, depth - 0.018, height), (x, y - 0.009, z + height / 2), tone, grain=grain))
    front, high = y + depth / 2 - 0.016, height / rows
    for i in range(rows):
        middle = z + (i + 0.5) * high
        # Large cells: a vertex behind the handle would carry its shadow far.
        parts += box((width - 0.012, 0.016, high - 0.012), (x, front, middle), tone, cell=0.6, grain=grain)
        if rows == 1 and height > 0.5:
            at, reach = (x + (width / 2 - 0.05), front, middle), (0, 0, 0.06)
        else:
            at, reach = (x, front, middle), (0.05, 0, 0)
        grip = np.outer([-1, 0, 1], reach) + at + [(0, 0.008, 0), (0, 0.016, 0), (0, 0.008, 0)]
        parts += tube(grip, 0.006, metal)
    return parts.meshes
