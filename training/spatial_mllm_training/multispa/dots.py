"""Dots on images: how a question points at a pixel, and what it offers to choose from (Xu et al., 2025, section 3)."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .item import LETTERS, Point

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two excluded

COLOURS: dict[str, tuple[str, Colour]] = {
    "": ("red", (226, 24, 33)),
    "A": ("blue", (26, 92, 230)),
    "B": ("green", (16, 150, 58)),
    "C": ("yellow", (250, 205, 20)),
    "D": ("purple", (142, 36, 190)),
}
"""Of the dots with a letter and, under the empty name, of the one without: as wording says it, and as RGB."""

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
RADIUS = 0.008  # of the coloured part, as a share of the image's longer side
SMALLEST = 3.0  # pixels
RIM = 0.3  # of the radius: how much white is around it
WEIGHT = np.float32(1.6)  # thin strokes of small letters are made stronger
SIDES = ((1, -1), (-1, -1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1))  # of a dot, best first, for its letter


def draw(image: NDArray[np.uint8], points: Sequence[Point], referring: str, output: str) -> NDArray[np.uint8]:
    """What a question shows on one of its images.

    Args:
        image: uint8 [H, W, 3] RGB; it is not changed.
        points: those of this image.
        referring, output: of the question; see :func:`is_drawn`.

    Returns:
        A new image uint8 [H, W, 3]: anti-aliased dots with a white rim, their centres exactly at (u, v), and beside
        each named one its letter, wholly inside the image.

    Raises:
        ValueError: a point is outside the image, or its name is not in COLOURS.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    shown = [point for point in points if is_drawn(point, referring, output)]
    for point in shown:
        if not (0 <= point.u < width and 0 <= point.v < height):
            raise ValueError(f"point ({point.u}, {point.v}) is outside its image of {width} x {height} pixels")
        if point.name not in COLOURS:
            raise ValueError(f"a dot is named {point.name!r}; its name is one of {', '.join(LETTERS)}, or empty")
    radius = max(SMALLEST, RADIUS * max(height, width))
    for point in shown:
        for coverage, colour in dot(radius, COLOURS[point.name][1]):
            half = coverage.shape[0] // 2
            paint(drawn, coverage, colour, point.u - half, point.v - half)
    for letter, (left, top, _, _) in places(shown, radius, (width, height)):
        for coverage, colour in glyph(letter, radius):
            paint(drawn, coverage, colour, left, top)
    return drawn


def is_drawn(point: Point, referring: str, output: str) -> bool:
    """Whether a question shows a dot at this point of it.

    A point without a letter in a later image is where that of the first one is found again. No dot gives it away, nor
    tells by its absence that the point is not visible there.
    """
    if point.image and not point.name:
        return False
    return referring == "dot" or bool(point.image and output == "choice")


@lru_cache(maxsize=64)
def dot(radius: float, colour: Colour) -> tuple[tuple[NDArray[np.float32], Colour], ...]:
    """Layers of a dot, lowest first: coverage float32 [N, N] in 0 to 1 around its middle pixel, and colour."""
    rim = radius + max(1.0, RIM * radius)
    half = ceil(rim + 1.5)
    away = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    discs = ((rim + 1, BLACK, 0.45), (rim, WHITE, 1.0), (radius, colour, 1.0))
    return tuple(((opaque * np.clip(r + 0.5 - away, 0, 1)).astype(np.float32), shade) for r, shade, opaque in discs)


@lru_cache(maxsize=64)
def glyph(letter: str, radius: float) -> tuple[tuple[NDArray[np.float32], Colour], ...]:
    """Layers of a letter, lowest first: white on a black outline, readable on any background."""
    font, bold = ImageFont.load_default(size=max(14.0, 3.4 * radius)), round(0.06 * radius)
    outline = bold + max(2, round(0.3 * radius))
    box = font.getbbox(letter, stroke_width=outline)
    left, top, right, bottom = floor(box[0]), floor(box[1]), ceil(box[2]), ceil(box[3])
    layers = []
    for stroke, colour in ((outline, BLACK), (bold, WHITE)):
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).text((-left, -top), letter, fill=255, font=font, stroke_width=stroke)
        layers.append((np.minimum(WEIGHT * np.asarray(mask, np.float32) / 255, 1), colour))
    return tuple(layers)


def paint(image: NDArray[np.uint8], coverage: NDArray[np.float32], colour: Colour, left: int, top: int) -> None:
    """Lay a colour over a part of the image, by coverage; what is outside the image is cut off."""
    height, width = image.shape[:2]
    first_u, first_v = max(0, -left), max(0, -top)
    coverage = coverage[first_v : height - top, first_u : width - left, None]
    part = image[top + first_v :, left + first_u :][: coverage.shape[0], : coverage.shape[1]]
    part[:] = np.rint(part + coverage * (np.array(colour, np.float32) - part))


def places(points: Sequence[Point], radius: float, size: tuple[int, int]) -> Iterator[tuple[str, Box]]:
    """Where the letters stand: inside the image, and where they hide least of the dots and of each other."""
    reach = ceil(radius * (1 + RIM)) + 2
    taken = [(p.u - reach, p.v - reach, p.u + reach + 1, p.v + reach + 1) for p in points]
    for point in points:
        if point.name:
            rows, columns = glyph(point.name, radius)[0][0].shape
            boxes = [around(point, side, reach, (columns, rows), size) for side in SIDES]
            best = min(boxes, key=lambda box: sum(shared(box, other) for other in taken))
            taken.append(best)
            yield point.name, best


def around(point: Point, side: tuple[int, int], reach: int, letter: tuple[int, int], size: tuple[int, int]) -> Box:
    """The box of a letter (columns, rows) on one side of a dot, moved into an image of that size (width, height)."""
    near = 0.8 if all(side) else 1.0  # a corner of a box may come closer to a round dot than its edge
    start = []
    for centre, way, extent, limit in zip((point.u, point.v), side, letter, size):
        middle = centre + way * (near * reach + extent / 2)
        start.append(max(0, min(round(middle - extent / 2), limit - extent)))
    return start[0], start[1], start[0] + letter[0], start[1] + letter[1]


def shared(a: Box, b: Box) -> int:
    """Area in pixels that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
